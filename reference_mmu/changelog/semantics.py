# SPDX-License-Identifier: GPL-2.0-only
"""Which patches are on: one bool each, read by the model at the place of the change (`if sem.test_age_early_out:`).

The names are spelled out and not set in a loop, so that mypyc makes each a field of a C struct and one grep for a name
shows everything the patch does. A test holds them against the catalogue.
"""

import re
from typing import Final

from .patches import PATCHES, PLACEBOS, SERIES, UnknownPatch, closure, dependents, series_of, unknown_patch

__all__ = ["BASES", "NEW", "NO_STRUCT_PAGE", "OLD", "Semantics", "UnknownPatch", "base_of", "parse_semantics"]

# Ids contain dashes: the longest one that fits is meant.
_STEP: Final = re.compile(
    rf"([+-])({'|'.join(sorted([*PATCHES, *PLACEBOS], key=len, reverse=True))})(?=[+-]|$)"  # ids need no escaping
)

_BASES: Final[dict[str, frozenset[str]]] = {
    "old": frozenset(),
    "no-struct-page": frozenset(SERIES["no-struct-page"]),
    "new": frozenset(PATCHES),
}
_BASE: Final = re.compile(rf"({'|'.join(_BASES)})(?=[+-]|\Z)")


class _NoStructPage:
    """Switches of the series no-struct-page in the code of all architectures and of x86, as it was applied."""

    def __init__(self, patches: frozenset[str]) -> None:
        self.x86_dirty_at_spte_creation: Final = "x86-dirty-at-spte-creation" in patches
        self.x86_accessed_at_leaf_zap_only: Final = "x86-accessed-at-leaf-zap-only" in patches
        self.x86_indirect_prefetch_via_page_api: Final = "x86-indirect-prefetch-via-page-api" in patches
        self.rename_kvm_prefetch_pages: Final = "rename-kvm-prefetch-pages" in patches
        self.gup_drop_atomic_param: Final = "gup-drop-atomic-param" in patches
        self.gup_eagain_is_sigpending: Final = "gup-eagain-is-sigpending" in patches
        self.gup_drop_extra_hwpoison_gup: Final = "gup-drop-extra-hwpoison-gup" in patches
        self.gup_no_wait_error_code: Final = "gup-no-wait-error-code" in patches
        self.introduce_kvm_follow_pfn: Final = "introduce-kvm-follow-pfn" in patches
        self.vcpu_map_drop_null_map_check: Final = "vcpu-map-drop-null-map-check" in patches
        self.vcpu_map_init_all_fields: Final = "vcpu-map-init-all-fields" in patches
        self.vcpu_map_null_page_for_memremap: Final = "vcpu-map-null-page-for-memremap" in patches
        self.nvmx_evmcs_unmap_unconditional: Final = "nvmx-evmcs-unmap-unconditional" in patches
        self.nvmx_vmcs12_maps: Final = "nvmx-vmcs12-maps" in patches
        self.gup_fast_single_page_pointer: Final = "gup-fast-single-page-pointer" in patches
        self.follow_pfn_refcounted_page_output: Final = "follow-pfn-refcounted-page-output" in patches
        self.pfncache_release_unused: Final = "pfncache-release-unused" in patches
        self.vcpu_map_follow_pfn: Final = "vcpu-map-follow-pfn" in patches
        self.vcpu_map_foll_pin: Final = "vcpu-map-foll-pin" in patches
        self.nvmx_apic_access_page_dirty: Final = "nvmx-apic-access-page-dirty" in patches
        self.vcpu_map_writable_at_map_time: Final = "vcpu-map-writable-at-map-time" in patches
        self.vcpu_map_write_gup_only_when_writable: Final = "vcpu-map-write-gup-only-when-writable" in patches
        self.disallow_unpinned_map_by_default: Final = "disallow-unpinned-map-by-default" in patches
        self.apic_page_no_initial_fault_in: Final = "apic-page-no-initial-fault-in" in patches
        self.x86_direct_prefetch_release_clean: Final = "x86-direct-prefetch-release-clean" in patches
        self.x86_common_prefetch_helper: Final = "x86-common-prefetch-helper" in patches
        self.x86_finish_page_fault_helper: Final = "x86-finish-page-fault-helper" in patches
        self.x86_dirty_at_origin_of_make_spte: Final = "x86-dirty-at-origin-of-make-spte" in patches
        self.add_kvm_faultin_pfn: Final = "add-kvm-faultin-pfn" in patches
        self.x86_convert_to_faultin_pfn: Final = "x86-convert-to-faultin-pfn" in patches
        self.gmem_pass_index: Final = "gmem-pass-index" in patches
        self.gmem_return_struct_page: Final = "gmem-return-struct-page" in patches
        self.x86_put_refcounted_page_not_pfn: Final = "x86-put-refcounted-page-not-pfn" in patches
        self.x86_unused_faultin_not_accessed: Final = "x86-unused-faultin-not-accessed" in patches
        self.release_faultin_page_common: Final = "release-faultin-page-common" in patches
        self.vmx_apic_page_hold_mmu_lock: Final = "vmx-apic-page-hold-mmu-lock" in patches
        self.vmx_apic_page_faultin_pfn: Final = "vmx-apic-page-faultin-pfn" in patches
        self.gfn_to_page_exact: Final = "gfn-to-page-exact" in patches
        self.gfn_to_page_read_only: Final = "gfn-to-page-read-only" in patches
        self.drop_gfn_to_pfn: Final = "drop-gfn-to-pfn" in patches
        self.follow_pfn_refcounted_page_required: Final = "follow-pfn-refcounted-page-required" in patches
        self.zap_does_not_mark_page_accessed: Final = "zap-does-not-mark-page-accessed" in patches
        self.mixedmap_no_refcount: Final = "mixedmap-no-refcount" in patches
        self.series_kvm_no_struct_page: Final = "series-kvm-no-struct-page" in patches


class _NoStructPageElsewhere(_NoStructPage):
    """Switches of the same series in the code of other architectures, each with its own, as it was applied."""

    def __init__(self, patches: frozenset[str]) -> None:
        super().__init__(patches)
        self.e500_dirty_in_shadow_map: Final = "e500-dirty-in-shadow-map" in patches
        self.e500_accessed_before_unlock: Final = "e500-accessed-before-unlock" in patches
        self.e500_faultin_pfn: Final = "e500-faultin-pfn" in patches
        self.arm64_accessed_dirty_before_unlock: Final = "arm64-accessed-dirty-before-unlock" in patches
        self.arm64_faultin_pfn: Final = "arm64-faultin-pfn" in patches
        self.riscv_dirty_iff_pte_installed: Final = "riscv-dirty-iff-pte-installed" in patches
        self.riscv_accessed_before_unlock: Final = "riscv-accessed-before-unlock" in patches
        self.riscv_faultin_pfn: Final = "riscv-faultin-pfn" in patches
        self.ppc_hv_faultin_pfn: Final = "ppc-hv-faultin-pfn" in patches
        self.ppc_radix_faultin_pfn: Final = "ppc-radix-faultin-pfn" in patches
        self.ppc_pr_dirty_accessed_after_pte: Final = "ppc-pr-dirty-accessed-after-pte" in patches
        self.ppc_pr_faultin_pfn: Final = "ppc-pr-faultin-pfn" in patches
        self.loongarch_dirty_slow_path_only: Final = "loongarch-dirty-slow-path-only" in patches
        self.loongarch_accessed_slow_path_only: Final = "loongarch-accessed-slow-path-only" in patches
        self.loongarch_accessed_before_unlock: Final = "loongarch-accessed-before-unlock" in patches
        self.loongarch_faultin_pfn: Final = "loongarch-faultin-pfn" in patches
        self.mips_dirty_slow_path_only: Final = "mips-dirty-slow-path-only" in patches
        self.mips_accessed_slow_path_only: Final = "mips-accessed-slow-path-only" in patches
        self.mips_accessed_before_unlock: Final = "mips-accessed-before-unlock" in patches
        self.mips_faultin_pfn: Final = "mips-faultin-pfn" in patches
        self.ppc_dcbz_drop_extra_get_page: Final = "ppc-dcbz-drop-extra-get-page" in patches
        self.ppc_dcbz_patch_via_vcpu_map: Final = "ppc-dcbz-patch-via-vcpu-map" in patches
        self.arm64_mte_copy_tags_via_gfn_to_page: Final = "arm64-mte-copy-tags-via-gfn-to-page" in patches
        self.ppc_uv_share_requires_struct_page: Final = "ppc-uv-share-requires-struct-page" in patches
        self.s390_unpin_via_page: Final = "s390-unpin-via-page" in patches
        self.arm64_mkyoung_no_mark_accessed: Final = "arm64-mkyoung-no-mark-accessed" in patches


class Semantics(_NoStructPageElsewhere):
    """A set of patches that are on, immutable and comparable; `patches` are their ids, placebos included.

    Raises UnknownPatch for an id that nobody declared and ValueError for a set that lacks a patch which another one
    requires: such a kernel never existed (see `closure`).
    """

    def __init__(self, patches: frozenset[str]) -> None:
        _require_closed(patches)
        super().__init__(patches)
        self.patches: Final = patches

        # aging
        self.age_valid_roots_only: Final = "age-valid-roots-only" in patches
        self.test_age_early_out: Final = "test-age-early-out" in patches
        self.age_flush_elision_kconfig: Final = "age-flush-elision-kconfig" in patches
        self.age_elides_tlb_flush: Final = "age-elides-tlb-flush" in patches

        # cleanup
        self.fold_make_spte_writable: Final = "fold-make-spte-writable" in patches
        self.drop_clear_dirty_slot_ret: Final = "drop-clear-dirty-slot-ret" in patches
        self.fold_spte_update_no_track: Final = "fold-spte-update-no-track" in patches
        self.drop_max_level_param: Final = "drop-max-level-param" in patches

        # fault
        self.always_dirty_if_writable: Final = "always-dirty-if-writable" in patches
        self.tdp_fault_warn_flush_mmuw: Final = "tdp-fault-warn-flush-mmuw" in patches

        # iter
        self.resched_check_before_progress: Final = "resched-check-before-progress" in patches
        self.demote_iter_yielded_warn: Final = "demote-iter-yielded-warn" in patches

        # spte-bits
        self.dedicated_ad_enabled_flag: Final = "dedicated-ad-enabled-flag" in patches
        self.ept_accessed_mask_always: Final = "ept-accessed-mask-always" in patches
        self.ept_dirty_mask_always: Final = "ept-dirty-mask-always" in patches
        self.sw_accessed_when_ad_off: Final = "sw-accessed-when-ad-off" in patches
        self.sw_dirty_when_ad_off: Final = "sw-dirty-when-ad-off" in patches

        # tlb-flush
        self.flush_iff_mmuw_cleared: Final = "flush-iff-mmuw-cleared" in patches
        self.no_flush_on_clear_accessed: Final = "no-flush-on-clear-accessed" in patches
        self.shadow_no_flush_on_clear_dirty: Final = "shadow-no-flush-on-clear-dirty" in patches
        self.dedup_leaf_flush_rule: Final = "dedup-leaf-flush-rule" in patches

        # zap
        self.batch_collapsible_zap_flush: Final = "batch-collapsible-zap-flush" in patches

        # Outside the catalogue, to test the lockstep.
        self.placebo_points: Final = "placebo-points" in patches
        self.placebo_flush: Final = "placebo-flush" in patches

    def spec(self) -> str:
        """The spec of the fewest steps, without those that others imply; `parse_semantics` turns it back."""
        patches = self.patches.difference(PLACEBOS)
        specs: list[list[str]] = [[name, *_steps(base, patches)] for name, base in _BASES.items()]
        shortest = min(specs, key=lambda spec: len(spec))
        return "".join(shortest) + "".join(f"+{patch}" for patch in PLACEBOS if patch in self.patches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semantics) and self.patches == other.patches

    def __hash__(self) -> int:
        return hash(self.patches)

    def __repr__(self) -> str:
        return f"Semantics({self.spec()})"


def _steps(base: frozenset[str], patches: frozenset[str]) -> list[str]:
    on, off = patches - base, base - patches
    implied = {required for patch in on for required in PATCHES[patch].requires}
    steps = [f"+{patch}" for patch in PATCHES if patch in on and patch not in implied]
    return steps + [f"-{patch}" for patch in PATCHES if patch in off and off.isdisjoint(PATCHES[patch].requires)]


def _require_closed(patches: frozenset[str]) -> None:
    for name in sorted(patches):
        if name not in PATCHES and name not in PLACEBOS:
            raise unknown_patch(name)
    for patch in PATCHES.values():
        missing = [required for required in patch.requires if required not in patches]
        if patch.id in patches and missing:
            raise ValueError(f"semantics: '{patch.id}' requires '{missing[0]}', which is off")


BASES: Final = {name: Semantics(patches) for name, patches in _BASES.items()}
"""Kernels that were there, by name: before all series and after each, which for the last one is `new`."""

OLD: Final = BASES["old"]
NO_STRUCT_PAGE: Final = BASES["no-struct-page"]
NEW: Final = BASES["new"]


def base_of(patch_id: str) -> Semantics:
    """The kernel that a patch's series was applied to. Raises UnknownPatch."""
    return OLD if series_of(patch_id) == "no-struct-page" else NO_STRUCT_PAGE


def parse_semantics(spec: str) -> Semantics:
    """Read the name of a base (`old`, `no-struct-page`, `new`) and any number of steps, `+PATCH` or `-PATCH`.

    `+` also puts on what the patch requires, `-` also takes off what requires it. `+PLACEBO` goes with every base.
    Raises UnknownPatch for anything else, also for a step that could change nothing (`old-PATCH`): a comparison of OLD
    with itself by mistake would look like good news.
    """
    named = _BASE.match(spec)
    if named is None:
        raise UnknownPatch(f"unknown semantics {spec!r}: write {', '.join(BASES)}, or +PATCH or -PATCH behind one")
    base = named.group()
    patches = BASES[base].patches
    steps = spec[named.end() :]
    position = 0
    while position < len(steps):
        step = _STEP.match(steps, position)
        if step is None:
            raise unknown_patch(steps[position + 1 :].partition("+")[0])
        sign, name = step.group(1), step.group(2)
        if (name in BASES[base].patches) == (sign == "+"):
            state = "on" if sign == "+" else "off"
            raise UnknownPatch(f"semantics {spec!r}: '{name}' is {state} in {base} already")
        patches = patches | closure([name]) if sign == "+" else patches - dependents([name])
        position = step.end()
    return Semantics(patches)
