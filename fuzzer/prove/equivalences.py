# SPDX-License-Identifier: GPL-2.0-only
"""What each equivalence patch has to leave as it was: the functions it touches, on all their inputs.

A `Sweep` is one such claim: it calls the model under two semantics, before and after the patch, on every input of a
stated domain and yields what came out of both.  Where a function is only reached through state, a sweep runs programs
on both in lockstep and compares everything they did.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Final, Literal, NamedTuple

import msgspec

from fuzzer.change.fold import model_sources
from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.prove import look_up
from fuzzer.prove.inputs import PFN, TABLE_KINDS, Rig, TableKind, leaf_base, leaf_bits, leaf_sptes, run
from fuzzer.prove.make_spte import make_spte_sweep
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from fuzzer.run.compare import Comparison, Models, by_scheduler
from fuzzer.run.execute import Execution
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.config import Backing, Config, SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_flush_young
from reference_mmu.observed import COUNT_PAGE_LOOKUPS, OP_COUNTERS
from reference_mmu.oracle import Oracle
from reference_mmu.x86.dirty_log import kvm_mmu_slot_leaf_clear_dirty, tdp_mmu_need_write_protect
from reference_mmu.x86.fast_fault import fast_pf_new_spte, page_fault_can_be_fast
from reference_mmu.x86.hugepage import kvm_mmu_max_mapping_level
from reference_mmu.x86.lpage_info import update_gfn_disallow_lpage_count
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.roots import kvm_tdp_mmu_alloc_root
from reference_mmu.x86.shadow_mmu.mmu_spte import mmu_spte_update_needs_flush
from reference_mmu.x86.shadow_mmu.rmap import kvm_rmap_age_gfn_range
from reference_mmu.x86.shadow_mmu.shadow_page import kvm_mmu_get_shadow_page
from reference_mmu.x86.spte import (
    FROZEN_SPTE,
    PG_LEVEL_1G,
    PG_LEVEL_2M,
    PG_LEVEL_4K,
    PG_LEVEL_NUM,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    VMX_EPT_READABLE_MASK,
    SpteMasks,
    is_access_track_spte,
    is_accessed_spte,
    is_dirty_spte,
    make_nonleaf_spte,
    mark_spte_for_access_track,
    spte_has_volatile_bits,
)
from reference_mmu.x86.tdp_mmu.map import tdp_mmu_map_handle_target_level
from reference_mmu.x86.x86 import X86

PROGRAMS: Final = 300  # of one lockstep sweep: a second or two interpreted


# --- flush rules -----------------------------------------------------------------------------------------------


def leaf_pair_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    for kind in TABLE_KINDS:
        before, after = [SpteMasks(kind.paging, sem) for sem in sides]
        leaves = leaf_sptes(kind, 1, leaf_bits(after)[:7])
        for old, new in product(leaves, leaves):
            yield InputCase(
                (kind, old, new),
                mmu_spte_update_needs_flush(before, old, new),
                mmu_spte_update_needs_flush(after, old, new),
            )


def target_level_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    for kind, level, logging in product(TABLE_KINDS, (1, 2), BOTH):
        benches = [Rig(sem, kind, logging=logging) for sem in sides]
        leaves = leaf_sptes(kind, level, leaf_bits(benches[1].m.masks)[:7])
        olds = [SHADOW_NONPRESENT_VALUE, FROZEN_SPTE, *leaves]
        for inputs in product(olds, BOTH, BOTH, BOTH, BOTH):
            before, after = [mapped(rig, level, inputs) for rig in benches]
            yield InputCase((kind, level, logging, *inputs), before, after)


def mapped(rig: Rig, level: int, inputs: tuple[int, bool, bool, bool, bool]) -> tuple[object, ...]:
    """tdp_mmu_map_handle_target_level() on one entry: result, points, the entry afterwards, what else happened."""
    old_spte, write, prefetch, map_writable, tracked = inputs
    rig.m.tracked_gfns = {0: 1} if tracked else {}
    rig.put(level, old_spte)
    fault = KvmPageFault(0, write, False, prefetch, False)
    fault.slot, fault.pfn, fault.map_writable = rig.slot, PFN, map_writable
    fault.goal_level = level
    done = run(tdp_mmu_map_handle_target_level(rig.m, fault, rig.iterator(level)))
    return done, int(rig.tables[level].spt[0]), fault.frozen, rig.taken()


# --- access tracking in the shadow MMU -------------------------------------------------------------------------


def tracked_verdict_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """The verdict that aging gets to see with the patch (without it nobody asks, which stands for False), and whether
    the store has to be an xchg."""
    for kind in [kind for kind in TABLE_KINDS if kind.ad_disabled]:
        before, after = [SpteMasks(kind.paging, sem) for sem in sides]
        for spte in leaf_sptes(kind, 1, leaf_bits(after)):
            tracked = mark_spte_for_access_track(after, spte)
            verdict = mmu_spte_update_needs_flush(after, spte, tracked)
            xchg = spte_has_volatile_bits(before, spte), spte_has_volatile_bits(after, spte)
            yield InputCase((kind, spte, tracked), (False, xchg[0]), (verdict, xchg[1]))


def shadow_age_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    for kind, level in product(shadow_kinds(), (1, 2)):
        benches = [Rig(sem, kind, "shadow") for sem in sides]
        leaves = leaf_sptes(kind, level, leaf_bits(benches[1].m.masks))
        for spte, test_only, added in product(leaves, BOTH, (0, PT_WRITABLE_MASK)):
            before, after = [aged(rig, level, spte, test_only, added) for rig in benches]
            yield InputCase((kind, level, spte, test_only, added), before, after)


def shadow_kinds() -> list[TableKind]:
    return [kind for kind in TABLE_KINDS if not kind.guest_mode]


def aged(rig: Rig, level: int, spte: int, test_only: bool, added: int) -> tuple[object, ...]:
    """kvm_rmap_age_gfn_range() on one SPTE; `added` is what fast_page_fault() may put there before the store."""
    rig.put(level, spte)
    flow = kvm_rmap_age_gfn_range(rig.m, 0, 1, test_only)
    points = []
    while True:
        try:
            points.append(next(flow))
        except StopIteration as stop:
            return points, stop.value, int(rig.tables[level].spt[0]), rig.taken()
        rig.tables[level].spt[0] |= added


# --- A/D bits --------------------------------------------------------------------------------------------------


def ad_enabled_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """kvm_ad_enabled() and what its callers make of it."""
    for kind in TABLE_KINDS:
        yield InputCase((kind,), *[ad_consumers(Rig(sem, kind)) for sem in sides])


def ad_consumers(rig: Rig) -> tuple[object, ...]:
    m = rig.m
    fast = [
        page_fault_can_be_fast(m, KvmPageFault(0, write, present, prefetch, False))
        for write, present, prefetch in product(BOTH, BOTH, BOTH)
    ]
    root = kvm_tdp_mmu_alloc_root(m, rig.kind.guest_mode)
    new_root = kvm_tdp_mmu_alloc_root(m, not rig.kind.guest_mode)
    shadow_page = kvm_mmu_get_shadow_page(m, 0, 1)
    nonleaf = make_nonleaf_spte(m.masks, root, not m.masks.kvm_ad_enabled())
    roles = root.ad_disabled, new_root.ad_disabled, shadow_page.ad_disabled
    return m.masks.kvm_ad_enabled(), fast, nonleaf, tdp_mmu_need_write_protect(m, root), roles


def mask_cases(changed: str, sides: SemanticsPair) -> Iterator[InputCase]:
    """Every field of SpteMasks, and kvm_ad_enabled()."""
    for paging in dict.fromkeys(kind.paging for kind in TABLE_KINDS):
        before, after = [SpteMasks(paging, sem) for sem in sides]
        for field in [name for name in dir(after) if isinstance(getattr(after, name), int)]:
            if field != changed or paging != "ept-noad":
                yield InputCase((paging, field), getattr(before, field), getattr(after, field))
        yield InputCase((paging, "kvm_ad_enabled()"), before.kvm_ad_enabled(), after.kvm_ad_enabled())


def spte_function_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """Everything that reads or makes an SPTE, on every SPTE; masks aside."""
    for kind, level, logging in product(TABLE_KINDS, (1, 2), BOTH):
        before, after = [Rig(sem, kind, logging=logging) for sem in sides]
        for spte in leaf_sptes(kind, level, leaf_bits(after.m.masks)):
            yield InputCase((kind, level, logging, spte), judged(before, level, spte), judged(after, level, spte))


def judged(rig: Rig, level: int, spte: int) -> tuple[object, ...]:
    m = rig.m
    sp = rig.tables[level]
    faults = [KvmPageFault(0, write, False, False, False) for write in BOTH]
    for fault in faults:
        fault.slot = rig.slot
    clear_w = tdp_mmu_need_write_protect(m, sp)
    return (
        is_accessed_spte(m.masks, spte),
        is_dirty_spte(m.masks, spte),
        is_access_track_spte(m.masks, spte),
        spte_has_volatile_bits(m.masks, spte),
        mark_spte_for_access_track(m.masks, spte),
        [fast_pf_new_spte(m, fault, sp, spte) for fault in faults],
        PT_WRITABLE_MASK if clear_w else int(m.masks.shadow_dirty_mask),
        make_nonleaf_spte(m.masks, sp, sp.ad_disabled),
        mmu_spte_update_needs_flush(m.masks, spte, mark_spte_for_access_track(m.masks, spte)),
    )


# --- aging, dirty log, huge pages ------------------------------------------------------------------------------


def clear_flush_young_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    mmus: tuple[Literal["tdp", "shadow"], ...] = ("tdp", "shadow")
    for mmu, kind, level in product(mmus, TABLE_KINDS, (1, 2)):
        if mmu == "shadow" and kind.guest_mode:
            continue
        benches = [Rig(sem, kind, mmu) for sem in sides]
        sptes = [SHADOW_NONPRESENT_VALUE, *leaf_sptes(kind, level, leaf_bits(benches[1].m.masks))]
        for spte, hva_end in product(sptes, (1, 8)):
            before, after = [clear_flush_young(rig, level, spte, hva_end) for rig in benches]
            yield InputCase((mmu, kind, level, spte, hva_end), before, after)


def clear_flush_young(rig: Rig, level: int, spte: int, hva_end: int) -> tuple[object, ...]:
    rig.put(level, spte)
    done = run(kvm_mmu_notifier_clear_flush_young(rig.m, 0, hva_end))
    return done, int(rig.tables[level].spt[0]), rig.taken()


def clear_dirty_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """Two neighbouring entries in each of two roots, the other one for L2, or for L1: each absent, or a leaf with any
    of W and D."""
    for kind, arrangement in product(TABLE_KINDS, ROOTS):
        other = kind._replace(guest_mode=not kind.guest_mode)
        benches = [RootsRig(Rig(sem, kind), other, arrangement) for sem in sides]
        first, second = [dirty_entries(each, benches[1].m.masks) for each in (kind, other)]
        for sptes in product(first, first, second, second):
            before, after = [cleared(rig, sptes) for rig in benches]
            yield InputCase((kind, arrangement, *sptes), before, after)


ROOTS: Final = ("two", "an invalid one first", "an invalid one last", "both invalid")


class RootsRig(Rig):
    """A machine with two roots of the TDP MMU: the vCPU's, and one of another kind, which is the first or the last."""

    def __init__(self, rig: Rig, other: TableKind, arrangement: str) -> None:
        self.m, self.kind, self.tables = rig.m, rig.kind, rig.tables
        (root,) = self.m.tdp_mmu_roots
        self.other = rig.another_root(other.guest_mode)
        top = self.other[int(self.m.levels)]
        if arrangement == "an invalid one first":
            self.m.tdp_mmu_roots = [top, root]
        top.invalid = arrangement != "two"
        root.invalid = arrangement == "both invalid"


def dirty_entries(kind: TableKind, masks: SpteMasks) -> list[int]:
    bits = tuple(bit for bit in leaf_bits(masks) if bit.name in ("W", "D"))
    present = leaf_base(kind, 1) | VMX_EPT_READABLE_MASK
    return [SHADOW_NONPRESENT_VALUE, *(present | spte for spte in leaf_sptes(kind, 1, bits))]


def cleared(rig: RootsRig, sptes: tuple[int, ...]) -> tuple[object, ...]:
    tables = rig.tables[1], rig.other[1]
    for at, spte in enumerate(sptes):
        tables[at // 2].spt[at % 2] = spte
    done = run(kvm_mmu_slot_leaf_clear_dirty(rig.m, rig.slot))[0]
    held = [(int(root.root_count), root.invalid) for root in rig.m.tdp_mmu_roots]
    return done, [int(spte) for sp in tables for spte in sp.spt], held, rig.taken()


def enable_log_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """The whole ioctl on one entry, for its one flush."""
    for kind in TABLE_KINDS:
        for spte in leaf_sptes(kind, 1, leaf_bits(Rig(sides.after, kind).m.masks)[:7]):
            yield InputCase((kind, spte), *[log_enabled(Rig(sem, kind), spte) for sem in sides])


def log_enabled(rig: Rig, spte: int) -> tuple[object, ...]:
    rig.put(1, spte)
    return run(enable_dirty_log(rig.m, 0)), int(rig.tables[1].spt[0]), rig.taken()


HOST_PAGES: Final = (int(PG_LEVEL_4K), int(PG_LEVEL_2M), int(PG_LEVEL_1G))


def mapping_level_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """Every slot of up to 8 pages of a 16-page guest with tables of two entries, so that 2M is 2 pages and 1G is 4."""
    for host_pages, base, npages, hva in product(HOST_PAGES, range(9), range(1, 9), range(4)):
        slot = SlotConfig(base, npages, hva)
        backing: Backing = "anon" if host_pages == PG_LEVEL_4K else "thp"
        config = Config(bits=1, levels=4, vcpus=1, slots=(slot,), backing=(backing,) * 6)
        machines = [X86(config, sem, 1, 1, Oracle()) for sem in sides]
        for m in machines:
            m.host.huge_level = host_pages
        for tracked, gfn in product((None, *range(base, base + npages)), range(base, base + npages)):
            before, after = [mapping_level(m, tracked, gfn) for m in machines]
            yield InputCase((host_pages, base, npages, hva, tracked, gfn), before, after)


def mapping_level(m: Machine, tracked: int | None, gfn: int) -> int:
    slot = m.memslots[0]
    if tracked is not None:
        update_gfn_disallow_lpage_count(m, slot, tracked, 1)
    level = kvm_mmu_max_mapping_level(m, slot, gfn, PG_LEVEL_NUM)
    if tracked is not None:
        update_gfn_disallow_lpage_count(m, slot, tracked, -1)
    return int(level)


# --- callers, read from the source -----------------------------------------------------------------------------


def model_calls(function: str) -> Iterator[tuple[str, ast.Call, ast.AST]]:
    """Every call of `function` in the model: where, the call, and what stands around it and its `yield from`."""
    for name, text in model_sources():
        for line, call, around in calls_in(text, function):
            yield f"{name}:{line}", call, around


def calls_in(text: str, function: str) -> Iterator[tuple[int, ast.Call, ast.AST]]:
    tree = ast.parse(text)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            around = parents[node]
            yield node.lineno, node, parents[around] if isinstance(around, ast.YieldFrom) else around


def max_level_argument_cases(_: SemanticsPair) -> Iterator[InputCase]:
    for where, call, _around in model_calls("kvm_mmu_max_mapping_level"):
        yield InputCase((where,), "PG_LEVEL_NUM", ast.unparse(call.args[-1]))


def ignored_result_cases(_: SemanticsPair) -> Iterator[InputCase]:
    for where, _call, around in model_calls("kvm_tdp_mmu_clear_dirty_slot"):
        yield InputCase((where,), "ignored", "ignored" if isinstance(around, ast.Expr) else "used")


# --- programs in lockstep --------------------------------------------------------------------------------------


def lockstep_cases(
    profile: Profile, programs: int, sides: SemanticsPair, models: Models | None = None
) -> Iterator[InputCase]:
    """Programs that alternate who leads; raw SPTEs count, too."""
    for seed in range(programs):
        program = generate(seed, profile)
        comparison = Comparison(sides.before, sides.after, "new" if seed % 2 else "old", models or Models())
        outcome = comparison.run(program, by_scheduler(draw_strategy(seed), seed))
        yield InputCase((seed,), everything(outcome.old), everything(outcome.new))


def everything(execution: Execution) -> tuple[object, ...]:
    """What one model did and left behind: steps, events and counters per operation, violations, SPTEs, memory.

    Not how often a struct page was looked up by its pfn: those who hand over pages instead save that, without more.
    """
    m = execution.m
    return (
        int(execution.steps),
        m.observed.all_events(),
        [int(count) for at, count in enumerate(m.observed.counters) if at % OP_COUNTERS != COUNT_PAGE_LOOKUPS],
        sorted((v.invariant, v.uid, v.point) for v in execution.judge.violations.values()),
        [[int(spte) for spte in sp.spt] for sp in m.tables()],
        [int(m.host.contents(hva)) for hva in range(m.host.n)],
    )


def lockstep(name: str, paging: tuple[Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"], ...] = ()) -> Sweep:
    """A sweep over random programs of a profile, perhaps restricted to some kinds of paging."""
    profile = PROFILES[name]
    if paging:
        profile = msgspec.structs.replace(profile, paging=paging)
    where = f" on {', '.join(paging)}" if paging else ""
    claim = f"everything done and left behind by random programs in lockstep (profile {name}{where})"
    return Sweep(claim, ("program seed",), partial(lockstep_cases, profile, PROGRAMS), profile)


_AD_TYPE: Final = "A/D type"
_SPTE_FUNCTIONS: Final = Sweep(
    "every function that judges or changes an SPTE: every leaf of every A/D type, 4K and 2M, slot logging or not",
    (_AD_TYPE, "level", "slot logs", "SPTE"),
    spte_function_cases,
)


def _ept_mask(name: str) -> tuple[Sweep, ...]:
    """The mask is the same but without A/D bits; there, nothing that uses it may notice."""
    noad = tuple(kind for kind in TABLE_KINDS if kind.paging == "ept-noad")
    return (
        Sweep(
            "every mask and bool of every kind of paging, this one aside where A/D bits are off",
            ("paging", "field"),
            partial(mask_cases, name),
        ),
        _SPTE_FUNCTIONS,
        make_spte_sweep(noad, "EPT without A/D bits"),
        lockstep("mixed", ("ept-noad",)),
    )


SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "fold-make-spte-writable": (
        make_spte_sweep(TABLE_KINDS, "every A/D type"),
        lockstep("guest-tables"),
    ),
    "drop-clear-dirty-slot-ret": (
        Sweep("the one caller ignores the result: source of the model", ("call",), ignored_result_cases),
        Sweep(
            "kvm_mmu_slot_leaf_clear_dirty(): points, SPTEs, references to roots, events, for every A/D type, two roots"
            " of which none, either or both are invalid, and every two neighbours in each, absent or with any of W and"
            " D",
            (_AD_TYPE, "roots", "SPTE 0", "SPTE 1", "SPTE 0 of the other", "SPTE 1 of the other"),
            clear_dirty_cases,
        ),
        Sweep(
            "the whole ioctl that enables logging, for every leaf of every A/D type",
            (_AD_TYPE, "SPTE"),
            enable_log_cases,
        ),
        lockstep("log"),
    ),
    "fold-spte-update-no-track": (
        Sweep(
            "mmu_spte_update() asks for no flush when it stores an access-tracked SPTE, and stores it as before: every"
            " leaf without A/D bits",
            (_AD_TYPE, "old SPTE", "new SPTE"),
            tracked_verdict_cases,
        ),
        Sweep(
            "kvm_rmap_age_gfn_range(): result, points, SPTE, WARNs, for every leaf of every A/D type, 4K and 2M, aging"
            " or testing, with and without W given back by fast_page_fault() before the store",
            (_AD_TYPE, "level", "SPTE", "test only", "added before the store"),
            shadow_age_cases,
        ),
        lockstep("shadow", ("ept-noad",)),
    ),
    "dedicated-ad-enabled-flag": (
        Sweep("kvm_ad_enabled() and its callers, for every kind of paging and role", (_AD_TYPE,), ad_enabled_cases),
        _SPTE_FUNCTIONS,
        lockstep("mixed"),
    ),
    "ept-accessed-mask-always": _ept_mask("shadow_accessed_mask"),
    "ept-dirty-mask-always": _ept_mask("shadow_dirty_mask"),
    "dedup-leaf-flush-rule": (
        Sweep(
            "mmu_spte_update_needs_flush(): every pair of leaves of every A/D type",
            (_AD_TYPE, "old SPTE", "new SPTE"),
            leaf_pair_cases,
        ),
        Sweep(
            "tdp_mmu_map_handle_target_level(): result, points, SPTE, flushes, WARNs, for every A/D type, 4K and 2M,"
            " slot logging or not, old SPTE, write, prefetch, map_writable, gfn tracked or not",
            (_AD_TYPE, "level", "slot logs", "old SPTE", "write", "prefetch", "map_writable", "tracked"),
            target_level_cases,
        ),
        lockstep("mixed"),
        lockstep("shadow"),
    ),
    "age-flush-elision-kconfig": (
        Sweep(
            "kvm_mmu_notifier_clear_flush_young(): points, events, SPTE, in both MMUs, for every leaf of every A/D type"
            " and none, 4K and 2M, a range of one page or all",
            ("MMU", _AD_TYPE, "level", "SPTE", "end of range"),
            clear_flush_young_cases,
        ),
        lockstep("aging"),
    ),
    "x86-indirect-prefetch-via-page-api": (look_up.PREFETCH, lockstep("guest-tables"), lockstep("pages")),
    "rename-kvm-prefetch-pages": (look_up.PREFETCH, lockstep("guest-tables"), lockstep("shadow")),
    "gup-drop-atomic-param": (look_up.FOLLOW, look_up.PREFETCH, lockstep("guest-tables"), lockstep("pages")),
    "gup-no-wait-error-code": (look_up.FOLLOW, lockstep("pages"), look_up.FAULT),
    "introduce-kvm-follow-pfn": (look_up.FAULT, lockstep("pages"), look_up.FOLLOW),
    "follow-pfn-refcounted-page-output": (look_up.FAULT, lockstep("pages"), look_up.FOLLOW),
    "x86-common-prefetch-helper": (look_up.PREFETCH, lockstep("guest-tables"), lockstep("shadow")),
    "x86-convert-to-faultin-pfn": (lockstep("pages"), look_up.FAULT),
    "release-faultin-page-common": (look_up.RELEASE, lockstep("pages")),
    "vmx-apic-page-faultin-pfn": (look_up.APIC_PAGE, lockstep("apic-page")),
    "drop-max-level-param": (
        Sweep("callers pass PG_LEVEL_NUM: source of the model", ("call",), max_level_argument_cases),
        Sweep(
            "kvm_mmu_max_mapping_level(): every slot of up to 8 pages, every gfn, every write-tracked gfn, host pages"
            " of 4K, 2M and 1G",
            ("level of host pages", "base", "npages", "hva", "tracked gfn", "gfn"),
            mapping_level_cases,
        ),
        lockstep("mixed"),
    ),
}
"""By patch, what `prove` has to find equal on both sides."""


class Halves(NamedTuple):
    """Two commits neither of which is equivalent alone: what the first breaks, the second mends. `why`: what it is."""

    breaks: str
    mends: str
    why: str


HALVES: Final = (
    Halves(
        "gup-no-wait-error-code",
        "x86-convert-to-faultin-pfn",
        "between the two, the second try of an x86 fault does not wait either: memory that needs I/O is an error",
    ),
    Halves(
        "introduce-kvm-follow-pfn",
        "follow-pfn-refcounted-page-output",
        "between the two, a page that the host may only read leaves the caller's `writable` as it was, which for all"
        " but x86 is what the stack held, or says what was asked for",
    ),
)
"""What the series took to be no functional change and is none only as a pair."""
