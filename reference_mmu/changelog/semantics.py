# SPDX-License-Identifier: GPL-2.0-only
"""Which patches are on: one bool each, read by the model at the place of the change (`if sem.test_age_early_out:`).

The names are spelled out and not set in a loop, so that mypyc makes each a field of a C struct and one grep for a name
shows everything the patch does. A test holds them against the catalogue.
"""

import re
from typing import Final

from .patches import PATCHES, PLACEBOS, UnknownPatch, closure, dependents, unknown_patch

__all__ = ["NEW", "OLD", "Semantics", "UnknownPatch", "parse_semantics"]

# Ids contain dashes: the longest one that fits is meant.
_STEP: Final = re.compile(
    rf"([+-])({'|'.join(sorted([*PATCHES, *PLACEBOS], key=len, reverse=True))})(?=[+-]|$)"  # ids need no escaping
)


class Semantics:
    """A set of patches that are on, immutable and comparable; `patches` are their ids, placebos included.

    Raises UnknownPatch for an id that nobody declared and ValueError for a set that lacks a patch which another one
    requires: such a kernel never existed (see `closure`).
    """

    def __init__(self, patches: frozenset[str]) -> None:
        _require_closed(patches)
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
        """A spec from the nearer base, without the steps that others imply; `parse_semantics` turns it back."""
        on = [name for name in PATCHES if name in self.patches]
        off = [name for name in PATCHES if name not in self.patches]
        if len(off) < len(on):
            steps = [f"-{name}" for name in off if not any(required in off for required in PATCHES[name].requires)]
            base = "new"
        else:
            implied = {required for name in on for required in PATCHES[name].requires}
            steps = [f"+{name}" for name in on if name not in implied]
            base = "old"
        return base + "".join(steps) + "".join(f"+{name}" for name in PLACEBOS if name in self.patches)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semantics) and self.patches == other.patches

    def __hash__(self) -> int:
        return hash(self.patches)

    def __repr__(self) -> str:
        return f"Semantics({self.spec()})"


def _require_closed(patches: frozenset[str]) -> None:
    for name in sorted(patches):
        if name not in PATCHES and name not in PLACEBOS:
            raise unknown_patch(name)
    for patch in PATCHES.values():
        missing = [required for required in patch.requires if required not in patches]
        if patch.id in patches and missing:
            raise ValueError(f"semantics: '{patch.id}' requires '{missing[0]}', which is off")


OLD: Final = Semantics(frozenset())
NEW: Final = Semantics(frozenset(PATCHES))


def parse_semantics(spec: str) -> Semantics:
    """Read `old`, `new`, `old+PATCH[+PATCH...]` or `new-PATCH[-PATCH...]`.

    `+` also puts on what the patch requires, `-` also takes off what requires it. `+PLACEBO` goes with either base.
    Raises UnknownPatch for anything else, also for a step that could change nothing (`old-PATCH`): a comparison of OLD
    with itself by mistake would look like good news.
    """
    base, steps = spec[:3], spec[3:]
    if base not in ("old", "new") or (steps and steps[0] not in "+-"):
        raise UnknownPatch(f"unknown semantics {spec!r}: write old, new, old+PATCH or new-PATCH")
    patches = NEW.patches if base == "new" else OLD.patches
    position = 0
    while position < len(steps):
        step = _STEP.match(steps, position)
        if step is None:
            raise unknown_patch(steps[position + 1 :].partition("+")[0])
        sign, name = step.group(1), step.group(2)
        expected = "+" if base == "old" or name in PLACEBOS else "-"
        if sign != expected:
            state = "on" if sign == "+" else "off"
            raise UnknownPatch(f"semantics {spec!r}: '{name}' is {state} in {base} already")
        patches = patches | closure([name]) if sign == "+" else patches - dependents([name])
        position = step.end()
    return Semantics(patches)
