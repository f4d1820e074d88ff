# SPDX-License-Identifier: GPL-2.0-only
"""The shadow MMU, driven by hand: flows of mmu_spte.py, rmap.py, shadow_page.py and shadow.py on one machine."""

from collections.abc import Generator, Iterator
from itertools import product
from typing import Literal, TypeVar

import pytest

from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Backing, Config, SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
)
from reference_mmu.kvm.observer import Observable
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.tlb import lookup
from reference_mmu.mm.host import HOST_PROTNONE
from reference_mmu.observed import COUNT_VISITS, EV_FLUSH, EV_SHIFT, EV_WARN
from reference_mmu.oracle import Oracle
from reference_mmu.x86.aging import kvm_age_gfn
from reference_mmu.x86.fast_fault import fast_page_fault
from reference_mmu.x86.fault import kvm_tdp_page_fault
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import (
    AGE_SPTE,
    COLLAPSE_FLUSH_W,
    COLLAPSE_ZAP_W,
    FAULT_LOCK_W,
    FPF_READ,
    FRONT_FLUSH,
    FRONT_YIELD,
    GET_PROTECT,
    LOG_CLEAR_W,
    PREFETCH_NEXT,
    SHADOW_DROP_FLUSH,
    SHADOW_FLUSH,
    TRACK_FLUSH,
    TRACK_PROTECT,
)
from reference_mmu.x86.ret_pf import RET_PF_FIXED, RET_PF_SPURIOUS, RET_PF_WRITE_PROTECTED
from reference_mmu.x86.roots import kvm_mmu_free_obsolete_roots, kvm_mmu_load, kvm_mmu_reload
from reference_mmu.x86.shadow_mmu.direct_map import mmu_set_spte
from reference_mmu.x86.shadow_mmu.mmu_spte import mmu_spte_update, mmu_spte_update_needs_flush
from reference_mmu.x86.shadow_mmu.rmap import (
    kvm_mmu_clear_dirty_pt_masked,
    kvm_mmu_write_protect_pt_masked,
    kvm_rmap_age_gfn_range,
    kvm_rmap_zap_collapsible_sptes,
    kvm_rmap_zap_gfn_range,
    rmap_add,
    rmap_clear_dirty_slot,
    rmap_remove,
    rmap_write_protect,
)
from reference_mmu.x86.spte import (
    ACC_ALL,
    EPT_SPTE_HOST_WRITABLE,
    EPT_SPTE_MMU_WRITABLE,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    SPTE_MMU_PRESENT_MASK,
    SPTE_TDP_AD_DISABLED,
    SPTE_TDP_AD_ENABLED,
    SPTE_TDP_AD_WRPROT_ONLY,
    VMX_EPT_ACCESS_BIT,
    VMX_EPT_DIRTY_BIT,
    VMX_EPT_EXECUTABLE_MASK,
    VMX_EPT_READABLE_MASK,
    SpteMasks,
    check_spte_writable_invariants,
    is_access_track_spte,
    is_accessed_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    is_writable_pte,
    leaf_spte_change_needs_tlb_flush,
    mark_spte_for_access_track,
    spte_to_pfn,
)
from reference_mmu.x86.vcpu import vcpu_access
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from reference_mmu.x86.x86 import X86
from tests.parameters import BOTH

T = TypeVar("T")
Paging = Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"]

IOCTL = 2  # the actor that is no vCPU
FLUSH_CLAUSES = ("flush-iff-mmuw-cleared", "no-flush-on-clear-accessed", "shadow-no-flush-on-clear-dirty")


class Recorder(Oracle):
    """What was warned about, which tables were freed, which pages were marked while mmu_lock was held for write."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.freed: list[PageTable] = []
        self.marked: list[tuple[int, bool]] = []

    def page_marked(self, m: Observable, pfn: int, dirty: bool) -> None:
        assert m.mmu_lock.state < 0
        self.marked.append((int(pfn), dirty))

    def warned(self, m: Observable, text: str) -> None:
        self.warnings.append(text)

    def bug(self, m: Observable, text: str) -> None:
        raise AssertionError(text)

    def table_freed(self, m: Observable, sp: PageTable) -> None:
        self.freed.append(sp)


def machine(config: Config, semantics: Semantics = OLD) -> tuple[Machine, Recorder]:
    """A machine whose vCPUs have loaded the one root; actor 0 runs."""
    oracle = Recorder()
    m = X86(config.check(), semantics, actors=3, operations=8, oracle=oracle)
    for vcpu in m.x86_vcpus:
        kvm_mmu_load(m, vcpu)
    return m, oracle


def shadow(
    *backing: Backing,
    paging: Paging = "ept-ad",
    bits: int = 2,
    slots: tuple[SlotConfig, ...] = (),
    logging: bool = False,
) -> Config:
    """One slot over all of `backing`, gfn n at hva n, unless `slots` says otherwise."""
    whole = (SlotConfig(base=0, npages=len(backing) << bits, hva=0, logging=logging),)
    return Config(mmu="shadow", paging=paging, bits=bits, backing=backing, slots=slots or whole).check()


def run(flow: Generator[int, None, T]) -> tuple[list[int], T]:
    """Exhaust a flow nobody interferes with: the points it passed, what it returned."""
    points: list[int] = []
    while True:
        try:
            points.append(next(flow))
        except StopIteration as stop:
            return points, stop.value


def locked(m: Machine, flow: Generator[int, None, T]) -> tuple[list[int], T]:
    """The same for a flow whose caller holds mmu_lock for write."""
    m.write_lock()
    result = run(flow)
    m.write_unlock()
    return result


def fault(
    m: Machine, gfn: int, *, write: bool = True, present: bool = False, prefetch: bool = False
) -> tuple[list[int], int]:
    """vCPU 0 takes an exit for gfn."""
    m.srcu.lock(m.actor)
    result = run(kvm_tdp_page_fault(m, m.x86_vcpus[0], KvmPageFault(gfn, write, present, prefetch, False)))
    m.srcu.unlock(m.actor)
    return result


def access(m: Machine, vcpu: int, gfn: int, *, write: bool) -> list[int]:
    """The guest reads or writes, exits included."""
    m.actor = vcpu
    points, _ = run(vcpu_access(m, m.x86_vcpus[vcpu], gfn, write, False))
    return points


def ioctl(m: Machine, flow: Generator[int, None, None]) -> list[int]:
    m.actor = IOCTL
    points, _ = run(flow)
    m.actor = 0
    return points


def entry(m: Machine, gfn: int) -> tuple[KvmMmuPage, int]:
    """The table and the index of the leaf that maps gfn for vCPU 0, or of the entry where the walk ends."""
    sp = m.x86_vcpus[0].root
    assert sp is not None
    while True:
        index = int(m.spte_index(gfn, sp.level))
        spte = sp.spt[index]
        if not is_shadow_present_pte(spte) or is_last_spte(spte, sp.level):
            return sp, index
        sp = m.page_tables[spte_to_pfn(spte)]


def spte_of(m: Machine, gfn: int) -> int:
    sp, index = entry(m, gfn)
    return int(sp.spt[index])


def level_of(m: Machine, gfn: int) -> int:
    """Level of the leaf that maps gfn, 0 if none does."""
    sp, index = entry(m, gfn)
    return int(sp.level) if is_shadow_present_pte(sp.spt[index]) else 0


def mapped(m: Machine, gfns: int) -> list[int]:
    return [gfn for gfn in range(gfns) if level_of(m, gfn) != 0]


def flushes(m: Machine) -> int:
    return [event >> EV_SHIFT for event in m.observed.events(m.uid)].count(EV_FLUSH)


def check_rmaps(m: Machine) -> None:
    """Rmaps and parent lists are the exact inverse of what the page tables say, orphans included."""
    leaves: set[tuple[int, int, int]] = set()
    links: set[tuple[int, int, int]] = set()
    for sp in m.page_tables:
        if sp.freed:
            continue
        for index in range(m.entries):
            spte = sp.spt[index]
            if is_shadow_present_pte(spte):
                leaf = is_last_spte(spte, sp.level)
                (leaves if leaf else links).add((sp.pt, index, 0 if leaf else spte_to_pfn(spte)))
    reverse = [
        (sp.pt, index, 0, key == m.tlb_key(sp.gfn + index * m.pages_per_hpage(sp.level), sp.level))
        for key, rmap_head in m.rmap.items()
        for sp, index in rmap_head.sptes()
    ]
    assert len(reverse) == len(set(reverse))
    assert set(reverse) == {(*leaf, True) for leaf in leaves}
    assert {(parent.pt, index, sp.pt) for sp in m.page_tables for parent, index in sp.parent_ptes.sptes()} == links
    for sp in m.page_tables:
        if sp.level < m.levels:
            assert sp.unlinked == sp.parent_ptes.is_empty()


# --- faults ----------------------------------------------------------------------------------------------------


@BOTH
def test_a_fault_maps_its_page(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon", "anon"), semantics)
    points, ret = fault(m, 1)
    assert ret == RET_PF_FIXED
    spte = spte_of(m, 1)
    assert level_of(m, 1) == 1
    assert spte_to_pfn(spte) == m.host.pte[1]
    assert is_writable_pte(spte)
    assert is_accessed_spte(m.masks, spte)
    assert SHADOW_FLUSH not in points
    assert flushes(m) == 0
    check_rmaps(m)
    assert oracle.warnings == []


def test_vcpus_share_the_page_tables() -> None:
    m, _ = machine(shadow("anon"))
    assert m.x86_vcpus[0].root is m.x86_vcpus[1].root
    access(m, 0, 2, write=True)
    tables = len(m.page_tables)
    access(m, 1, 2, write=False)
    assert len(m.page_tables) == tables
    assert m.x86_vcpus[1].tlb.items() != []


def test_a_second_fault_on_the_same_page_is_spurious() -> None:
    m, _ = machine(shadow("anon"), NEW)
    fault(m, 1)
    before = spte_of(m, 1)
    locked(m, kvm_rmap_zap_gfn_range(m, 3, 4, False))
    assert fault(m, 1)[1] == RET_PF_SPURIOUS
    assert spte_of(m, 1) == before
    assert mapped(m, 4) == [0, 1, 2]  # nothing was installed, so nothing is prefetched
    check_rmaps(m)


@pytest.mark.parametrize(
    ("patches", "ret", "flushed"),
    [
        ((), RET_PF_FIXED, 1),
        (("shadow-no-flush-on-clear-dirty",), RET_PF_FIXED, 0),
        (("always-dirty-if-writable",), RET_PF_SPURIOUS, 0),
    ],
    ids=["old", "no dirty clause", "always dirty"],
)
def test_the_loser_of_two_write_faults_drops_the_dirty_bit_until_it_is_always_set(
    patches: tuple[str, ...], ret: int, flushed: int
) -> None:
    m, _ = machine(shadow("anon"), Semantics(OLD.patches | closure(patches)))
    fault(m, 1)
    points, found = fault(m, 1)
    assert found == ret
    assert flushes(m) == flushed
    assert points.count(SHADOW_FLUSH) == flushed
    assert bool(spte_of(m, 1) & m.masks.shadow_dirty_mask) == (ret == RET_PF_SPURIOUS)


@BOTH
def test_a_prefetch_leaves_a_present_spte_alone(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon"), semantics)
    fault(m, 1)
    before = spte_of(m, 1)
    assert fault(m, 1, write=False, prefetch=True)[1] == RET_PF_SPURIOUS
    assert spte_of(m, 1) == before


@BOTH
def test_another_pfn_replaces_the_leaf_and_flushes(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon"), semantics)
    access(m, 0, 1, write=True)
    sp, index = entry(m, 1)
    other = int(m.host.alloc(1, 0))
    replacing = KvmPageFault(1, True, False, False, False)
    replacing.map_writable = True
    points, ret = locked(m, mmu_set_spte(m, m.memslots[0], sp, index, ACC_ALL, 1, other, replacing))
    assert ret == RET_PF_FIXED
    assert SHADOW_FLUSH in points
    assert m.x86_vcpus[0].tlb.items() == []
    assert spte_to_pfn(spte_of(m, 1)) == other
    check_rmaps(m)
    assert oracle.warnings == []


@BOTH
def test_a_write_to_a_tracked_gfn_is_mapped_read_only_and_emulated(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon"), semantics)
    m.tracked_gfns[1] = 1
    assert fault(m, 1)[1] == RET_PF_WRITE_PROTECTED
    assert not is_writable_pte(spte_of(m, 1))
    assert not is_mmu_writable_spte(m.masks, spte_of(m, 1))
    check_rmaps(m)


@BOTH
def test_a_read_of_a_tracked_gfn_is_just_mapped(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon"), semantics)
    m.tracked_gfns[1] = 1
    assert fault(m, 1, write=False)[1] == RET_PF_FIXED
    assert not is_writable_pte(spte_of(m, 1))


@BOTH
def test_a_read_only_page_is_mapped_read_only(semantics: Semantics) -> None:
    m, oracle = machine(shadow("cow"), semantics)
    assert fault(m, 1, write=False)[1] == RET_PF_FIXED
    assert spte_of(m, 1) & (m.masks.shadow_host_writable_mask | m.masks.shadow_mmu_writable_mask | W) == 0
    assert oracle.marked == [(m.host.pte[1], False)]


# --- huge pages ------------------------------------------------------------------------------------------------


@BOTH
def test_a_huge_host_page_is_mapped_huge(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", "thp"), semantics)
    points, _ = fault(m, 6)
    assert [level_of(m, gfn) for gfn in range(4, 8)] == [2] * 4
    assert spte_to_pfn(spte_of(m, 6)) == m.host.pte[4]
    assert PREFETCH_NEXT not in points
    assert list(m.rmap) == [m.tlb_key(4, 2)]
    check_rmaps(m)


@BOTH
@pytest.mark.parametrize("paging", ["ept-ad", "ept-ad-nopml", "npt"])
def test_a_write_under_logging_replaces_the_huge_page_by_small_ones(paging: Paging, semantics: Semantics) -> None:
    m, _ = machine(shadow("thp", paging=paging), semantics)
    access(m, 0, 1, write=True)
    ioctl(m, enable_dirty_log(m, 0))
    assert level_of(m, 1) == 2
    assert not is_writable_pte(spte_of(m, 1))
    assert is_mmu_writable_spte(m.masks, spte_of(m, 1))
    access(m, 1, 2, write=False)
    assert lookup(m, m.x86_vcpus[1], 2) != 0
    points = access(m, 0, 1, write=True)
    assert points.count(SHADOW_DROP_FLUSH) == 1
    assert lookup(m, m.x86_vcpus[1], 2) == 0
    assert mapped(m, 4) == [1]
    assert level_of(m, 1) == 1
    assert m.is_dirty(m.memslots[0], 1)
    assert not m.is_dirty(m.memslots[0], 2)
    check_rmaps(m)


@BOTH
def test_a_huge_page_takes_the_place_of_a_table_and_gives_it_back(semantics: Semantics) -> None:
    """Legal though odd: the table without a parent keeps its leaves, and they are valid when it is linked again."""
    m, oracle = machine(shadow("thp"), semantics)
    ioctl(m, kvm_write_track_add_gfn(m, 3))
    fault(m, 0)
    table, _ = entry(m, 0)
    assert table.level == 1
    ioctl(m, kvm_write_track_remove_gfn(m, 3))
    root_entry = table.parent_ptes.sptes()[0]
    locked(m, kvm_rmap_zap_gfn_range(m, 1, 2, False))
    before = flushes(m)
    points, ret = fault(m, 1)
    assert ret == RET_PF_FIXED
    assert SHADOW_FLUSH in points
    assert flushes(m) == before + 1
    assert level_of(m, 0) == 2
    assert table.unlinked
    assert not table.freed
    assert table in m.active_mmu_pages
    assert is_shadow_present_pte(table.spt[0])
    check_rmaps(m)

    ioctl(m, enable_dirty_log(m, 0))
    fault(m, 2)
    assert entry(m, 0)[0] is table
    assert table.parent_ptes.sptes() == [root_entry]
    assert not entry(m, 0)[0].unlinked
    assert level_of(m, 0) == 1
    assert level_of(m, 1) == 0  # zapped before, and never mapped small again
    check_rmaps(m)
    assert oracle.warnings == []


@BOTH
def test_collapsing_drops_the_small_pages_where_a_huge_one_fits(semantics: Semantics) -> None:
    m, _ = machine(shadow("thp", "anon", "thp", logging=True), semantics)
    for gfn in (0, 3, 5, 9):
        access(m, 0, gfn, write=True)
    slot = m.memslots[0].copy()
    slot.log_dirty_pages = False
    points, _ = locked(m, kvm_rmap_zap_collapsible_sptes(m, slot))
    assert points == [COLLAPSE_ZAP_W] * 3 + [COLLAPSE_FLUSH_W]
    assert mapped(m, 12) == [5]
    check_rmaps(m)


def test_collapsing_leaves_a_huge_host_page_alone_that_the_slot_covers_in_part() -> None:
    slots = (SlotConfig(base=1, npages=3, hva=1, logging=True),)
    m, _ = machine(shadow("thp", slots=slots))
    access(m, 0, 2, write=True)
    assert locked(m, kvm_rmap_zap_collapsible_sptes(m, m.memslots[0])) == ([], None)
    assert mapped(m, 4) == [2]


@BOTH
def test_huge_pages_come_back_when_logging_ends(semantics: Semantics) -> None:
    m, _ = machine(shadow("thp", logging=True), semantics)
    for gfn in range(4):
        access(m, 0, gfn, write=True)
    ioctl(m, disable_dirty_log(m, 0))
    assert mapped(m, 4) == []
    access(m, 0, 1, write=True)
    assert level_of(m, 1) == 2
    check_rmaps(m)


# --- prefetch --------------------------------------------------------------------------------------------------


@BOTH
def test_neighbours_are_prefetched_old_but_writable_and_their_pages_marked(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon", "anon"), semantics)
    fault(m, 1)
    assert mapped(m, 8) == [0, 1, 2, 3]
    for gfn in (0, 2, 3):
        assert not is_accessed_spte(m.masks, spte_of(m, gfn))
        assert is_writable_pte(spte_of(m, gfn))
        page = m.host.pages[m.host.pte[gfn]]
        assert (page.dirty, page.accessed, page.refcount, page.kvm_refs) == (True, 1, 1, 0)
    assert sorted(oracle.marked) == sorted((m.host.pte[gfn], dirty) for gfn in range(4) for dirty in (False, True))
    check_rmaps(m)
    assert oracle.warnings == []


def test_the_prefetch_window_is_eight_aligned_entries() -> None:
    m, _ = machine(shadow("anon", bits=4))
    points, _ = fault(m, 9)
    assert mapped(m, 16) == list(range(8, 16))
    assert points.count(PREFETCH_NEXT) == 2  # the runs before and after the fault


@pytest.mark.parametrize(
    ("absent", "expected"),
    [
        (12, [8, 9, 10, 11]),  # the run ends early
        (10, [8, 9]),  # a run without a single page ends it all
        (8, [9]),
        (9, list(range(8, 16))),  # the fault itself takes the slow path
    ],
)
def test_a_page_gup_fast_does_not_get_stops_the_prefetch(absent: int, expected: list[int]) -> None:
    m, _ = machine(shadow("anon", bits=4))
    m.host.flags[absent] |= HOST_PROTNONE
    fault(m, 9)
    assert mapped(m, 16) == expected


def test_a_run_that_leaves_the_slot_is_not_prefetched() -> None:
    m, _ = machine(shadow("anon", bits=4, slots=(SlotConfig(base=0, npages=14, hva=0),)))
    fault(m, 9)
    assert mapped(m, 16) == [8, 9]


def test_present_neighbours_split_the_run_and_stay_as_they_are() -> None:
    m, _ = machine(shadow("anon", bits=4), NEW)
    m.host.flags[8] |= HOST_PROTNONE
    fault(m, 13)
    assert mapped(m, 16) == [13]  # the run 8..12 has no first page, the rest is left
    before = spte_of(m, 13)
    m.host.flags[8] &= ~HOST_PROTNONE
    points, _ = fault(m, 10)
    assert mapped(m, 16) == list(range(8, 16))
    assert points.count(PREFETCH_NEXT) == 3
    assert spte_of(m, 13) == before


@pytest.mark.parametrize(
    "config",
    [
        shadow("anon", paging="ept-noad"),
        shadow("anon", logging=True),
        shadow("anon", slots=(SlotConfig(base=0, npages=4, hva=0, readonly=True),)),
        shadow("cow"),
    ],
    ids=["no A bits", "logging", "read-only slot", "copy-on-write"],
)
def test_nothing_is_prefetched_that_could_not_be_written_or_aged(config: Config) -> None:
    m, _ = machine(config)
    fault(m, 1, write=False)
    assert mapped(m, 4) == [1]


@pytest.mark.parametrize("change", ["logging", "invalid"])
def test_a_slot_that_changed_since_the_fault_looked_it_up_is_not_prefetched(change: str) -> None:
    m, _ = machine(shadow("anon"))
    m.srcu.lock(m.actor)
    flow = kvm_tdp_page_fault(m, m.x86_vcpus[0], KvmPageFault(1, True, False, False, False))
    while next(flow) != FAULT_LOCK_W:
        pass
    slot = m.memslots[0].copy()
    slot.log_dirty_pages = change == "logging"
    slot.invalid = change == "invalid"
    m.memslots = [slot]
    run(flow)
    m.srcu.unlock(m.actor)
    assert mapped(m, 4) == [1]


def test_nothing_is_prefetched_while_any_invalidation_is_in_progress() -> None:
    m, _ = machine(shadow("anon", "anon"))
    run(kvm_mmu_notifier_invalidate_range_start(m, 6, 7))
    points, ret = fault(m, 1)
    assert ret == RET_PF_FIXED
    assert PREFETCH_NEXT not in points
    assert mapped(m, 8) == [1]
    run(kvm_mmu_notifier_invalidate_range_end(m, 6, 7))
    fault(m, 2)
    assert mapped(m, 8) == [0, 1, 2, 3]


@BOTH
def test_a_tracked_neighbour_is_prefetched_read_only(semantics: Semantics) -> None:
    """Legal though odd: the page is marked dirty all the same, KVM asked for it as writable."""
    m, _ = machine(shadow("anon"), semantics)
    m.tracked_gfns[2] = 1
    assert fault(m, 1)[1] == RET_PF_FIXED
    assert not is_writable_pte(spte_of(m, 2))
    assert not is_mmu_writable_spte(m.masks, spte_of(m, 2))
    assert m.host.pages[m.host.pte[2]].dirty


# --- zap -------------------------------------------------------------------------------------------------------


@BOTH
def test_zapping_a_range_takes_what_overlaps_it_huge_pages_included(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", "thp", "anon"), semantics)
    for gfn in (0, 5, 8):
        fault(m, gfn)
    assert mapped(m, 12) == list(range(12))
    points, flush = locked(m, kvm_rmap_zap_gfn_range(m, 3, 5, False))
    assert flush
    assert len(points) == 2  # gfn 3 and the huge page that starts at 4
    assert mapped(m, 12) == [0, 1, 2, 8, 9, 10, 11]
    check_rmaps(m)


@pytest.mark.parametrize("pending", [False, True])
def test_zapping_nothing_returns_the_flush_that_was_pending(pending: bool) -> None:
    m, _ = machine(shadow("anon", "anon"))
    fault(m, 0)
    assert locked(m, kvm_rmap_zap_gfn_range(m, 4, 8, pending)) == ([], pending)
    assert mapped(m, 8) == [0, 1, 2, 3]


def test_a_zapped_page_stays_in_the_tlb_until_the_flush() -> None:
    m, _ = machine(shadow("anon"))
    access(m, 1, 1, write=True)
    locked(m, kvm_rmap_zap_gfn_range(m, 1, 2, False))
    assert lookup(m, m.x86_vcpus[1], 1) != 0
    m.flush_all()
    assert lookup(m, m.x86_vcpus[1], 1) == 0


# --- aging -----------------------------------------------------------------------------------------------------


@BOTH
def test_aging_clears_the_accessed_bit_and_nothing_else(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", "thp"), semantics)
    access(m, 0, 1, write=True)
    access(m, 0, 5, write=True)
    before = [spte_of(m, 1), spte_of(m, 5)]
    assert locked(m, kvm_rmap_age_gfn_range(m, 0, 8, False)) == ([AGE_SPTE, AGE_SPTE], True)
    assert [spte_of(m, 1), spte_of(m, 5)] == [spte & ~m.masks.shadow_accessed_mask for spte in before]
    assert locked(m, kvm_rmap_age_gfn_range(m, 0, 8, False)) == ([], False)
    assert flushes(m) == 0


@BOTH
def test_the_accessed_bit_is_cleared_atomically(semantics: Semantics) -> None:
    """Hardware sets D while aging is on its way: it stays."""
    m, _ = machine(shadow("anon"), semantics)
    fault(m, 1, write=False)
    sp, index = entry(m, 1)
    sp.spt[index] &= ~m.masks.shadow_dirty_mask
    m.write_lock()
    flow = kvm_rmap_age_gfn_range(m, 1, 2, False)
    assert next(flow) == AGE_SPTE
    sp.spt[index] |= m.masks.shadow_dirty_mask
    run(flow)
    m.write_unlock()
    assert sp.spt[index] & (m.masks.shadow_dirty_mask | m.masks.shadow_accessed_mask) == m.masks.shadow_dirty_mask


@pytest.mark.parametrize(
    "semantics",
    [
        OLD,
        NEW,
        Semantics(OLD.patches | closure(FLUSH_CLAUSES)),
        Semantics(OLD.patches | closure(["fold-spte-update-no-track"])),
    ],
    ids=["old", "new", "before the fold", "after the fold"],
)
def test_without_accessed_bits_aging_tracks_accesses(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon", paging="ept-noad"), semantics)
    access(m, 0, 1, write=True)
    assert locked(m, kvm_age_gfn(m, 1, 2, False)) == ([AGE_SPTE], True)
    spte = spte_of(m, 1)
    assert is_access_track_spte(m.masks, spte)
    assert is_mmu_writable_spte(m.masks, spte)
    assert not is_accessed_spte(m.masks, spte)
    assert lookup(m, m.x86_vcpus[0], 1) != 0  # a writable entry outlives it
    assert oracle.warnings == []
    assert flushes(m) == 0
    assert locked(m, kvm_age_gfn(m, 1, 2, False)) == ([], False)
    check_rmaps(m)

    m.flush_all()
    access(m, 0, 1, write=True)
    assert is_writable_pte(spte_of(m, 1))
    assert is_accessed_spte(m.masks, spte_of(m, 1))


@BOTH
def test_a_test_for_young_stops_at_the_first_and_changes_nothing(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon"), semantics)
    for gfn in (1, 2, 3):
        access(m, 0, gfn, write=False)
    before = [spte_of(m, gfn) for gfn in range(4)]
    assert locked(m, kvm_rmap_age_gfn_range(m, 0, 4, True)) == ([], True)
    assert m.observed.counted(0, COUNT_VISITS) == 2  # gfn 0, prefetched and old, then gfn 1
    assert [spte_of(m, gfn) for gfn in range(4)] == before


# --- the flush verdict -----------------------------------------------------------------------------------------


EPT = SpteMasks("ept-ad", OLD)
LEAF = SPTE_MMU_PRESENT_MASK | VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK | EPT_SPTE_HOST_WRITABLE
MMUW = EPT_SPTE_MMU_WRITABLE
W = PT_WRITABLE_MASK
A = VMX_EPT_ACCESS_BIT
D = VMX_EPT_DIRTY_BIT
NOAD = SPTE_TDP_AD_DISABLED


def masks(*patches: str) -> SpteMasks:
    return SpteMasks("ept-ad", Semantics(closure(patches)))


@pytest.mark.parametrize(
    ("patch", "old_spte", "new_spte"),
    [
        ("flush-iff-mmuw-cleared", LEAF | A | D | MMUW | W, LEAF | A | D | MMUW),
        ("flush-iff-mmuw-cleared", LEAF | A | D | MMUW, LEAF | A | D | MMUW),
        ("no-flush-on-clear-accessed", LEAF | A | D | MMUW | W, LEAF | D | MMUW | W),
        ("shadow-no-flush-on-clear-dirty", LEAF | A | D | MMUW | W, LEAF | A | MMUW | W),
    ],
    ids=["W lost, MMU_WRITABLE kept", "read-only refreshed", "A lost", "D lost"],
)
def test_each_flush_clause_goes_with_its_patch(patch: str, old_spte: int, new_spte: int) -> None:
    for name in FLUSH_CLAUSES:
        assert mmu_spte_update_needs_flush(masks(name), old_spte, new_spte) == (name != patch)
    assert mmu_spte_update_needs_flush(masks(), old_spte, new_spte)
    assert not mmu_spte_update_needs_flush(masks(*FLUSH_CLAUSES), old_spte, new_spte)


def test_without_a_dirty_bit_losing_w_counted_as_losing_dirty() -> None:
    old_spte, new_spte = LEAF | NOAD | MMUW | W, LEAF | NOAD | MMUW
    two = ("flush-iff-mmuw-cleared", "no-flush-on-clear-accessed")
    assert mmu_spte_update_needs_flush(masks(*two), old_spte, new_spte)
    assert not mmu_spte_update_needs_flush(masks(*FLUSH_CLAUSES), old_spte, new_spte)


@pytest.mark.parametrize("written", [0, W], ids=["read-only", "writable"])
def test_losing_mmu_writable_always_flushes(written: int) -> None:
    """Also when W went before: stale writable entries of the dirty log may be about."""
    for count in range(len(FLUSH_CLAUSES) + 1):
        on = masks(*FLUSH_CLAUSES[:count])
        assert mmu_spte_update_needs_flush(on, LEAF | A | D | MMUW | written, LEAF | A | D)
    assert mmu_spte_update_needs_flush(SpteMasks("ept-ad", NEW), LEAF | A | D | MMUW | written, LEAF | A | D)


def test_adding_rights_or_bits_never_flushes() -> None:
    for semantics in (OLD, NEW):
        on = SpteMasks("ept-ad", semantics)
        assert not mmu_spte_update_needs_flush(on, LEAF, LEAF | A)
        assert not mmu_spte_update_needs_flush(on, LEAF | A, LEAF | A | D | MMUW | W)
        assert not mmu_spte_update_needs_flush(on, LEAF | A | MMUW, LEAF | A | D | MMUW | W)


@pytest.mark.parametrize("left_out", FLUSH_CLAUSES)
def test_any_old_clause_would_make_access_tracking_ask_for_a_flush(left_out: str) -> None:
    """Why fold-spte-update-no-track, which WARNs on the verdict, requires all three."""
    old_spte = LEAF | NOAD | MMUW | W
    on = masks(*(name for name in FLUSH_CLAUSES if name != left_out))
    assert mmu_spte_update_needs_flush(on, old_spte, mark_spte_for_access_track(on, old_spte))
    on = masks(*FLUSH_CLAUSES)
    assert not mmu_spte_update_needs_flush(on, old_spte, mark_spte_for_access_track(on, old_spte))


def legal_leaves() -> Iterator[int]:
    types = (SPTE_TDP_AD_ENABLED, SPTE_TDP_AD_DISABLED, SPTE_TDP_AD_WRPROT_ONLY)
    bits = [(0, bit) for bit in (VMX_EPT_READABLE_MASK, W, VMX_EPT_EXECUTABLE_MASK, A, D, EPT_SPTE_HOST_WRITABLE, MMUW)]
    for ad_type, *chosen in product(types, *bits):
        spte = SPTE_MMU_PRESENT_MASK | ad_type | sum(chosen)
        if check_spte_writable_invariants(EPT, spte):
            yield spte


def test_the_common_leaf_rule_agrees_with_the_open_coded_one() -> None:
    before = masks(*FLUSH_CLAUSES)
    after = SpteMasks("ept-ad", NEW)
    leaves = list(legal_leaves())
    assert len(leaves) > 100
    for old_spte, new_spte in product(leaves, leaves):
        verdict = mmu_spte_update_needs_flush(before, old_spte, new_spte)
        assert verdict == leaf_spte_change_needs_tlb_flush(after, old_spte, new_spte)
        assert verdict == mmu_spte_update_needs_flush(after, old_spte, new_spte)


@BOTH
def test_an_update_of_nothing_sets_the_spte_and_needs_no_flush(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon"), semantics)
    sp = m.alloc_table(1, 0, None)
    assert not mmu_spte_update(m, sp, 0, LEAF | A)
    assert sp.spt[0] == LEAF | A
    assert oracle.warnings == []


@pytest.mark.parametrize(
    ("new_spte", "warning"),
    [
        (SHADOW_NONPRESENT_VALUE, "mmu_spte_update: new SPTE is not present"),
        (LEAF | A | 7 << 12, "mmu_spte_update: leaf changed its pfn"),
    ],
)
def test_an_update_may_neither_zap_nor_change_the_pfn(new_spte: int, warning: str) -> None:
    m, oracle = machine(shadow("anon"))
    sp = m.alloc_table(1, 0, None)
    mmu_spte_update(m, sp, 0, LEAF | A)
    mmu_spte_update(m, sp, 0, new_spte)
    assert warning in oracle.warnings
    assert EV_WARN in [event >> EV_SHIFT for event in m.observed.events(0)]


# --- write protection and the dirty log ------------------------------------------------------------------------


@BOTH
def test_write_protection_takes_mmu_writable_once(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon"), semantics)
    fault(m, 1)
    assert locked(m, rmap_write_protect(m, 1, 1)) == ([TRACK_PROTECT], True)
    assert spte_of(m, 1) & (W | MMUW) == 0
    assert is_writable_pte(spte_of(m, 2))
    assert locked(m, rmap_write_protect(m, 1, 1)) == ([], False)


@BOTH
def test_write_protection_of_what_the_log_has_protected_still_flushes(semantics: Semantics) -> None:
    """The log took W and has not flushed yet: a writable entry may be about, the tracker must not rely on W = 0."""
    m, _ = machine(shadow("anon", paging="ept-ad-nopml", logging=True), semantics)
    access(m, 1, 1, write=True)
    locked(m, kvm_mmu_write_protect_pt_masked(m, m.memslots[0], 0, 0b10))
    assert spte_of(m, 1) & (W | MMUW) == MMUW
    points = ioctl(m, kvm_write_track_add_gfn(m, 1))
    assert TRACK_FLUSH in points
    assert lookup(m, m.x86_vcpus[1], 1) == 0
    assert fault(m, 1, present=True)[1] == RET_PF_WRITE_PROTECTED


@BOTH
def test_write_protection_from_2m_on_spares_small_pages(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", "thp"), semantics)
    fault(m, 1)
    fault(m, 5)
    assert locked(m, rmap_write_protect(m, 1, 2)) == ([], False)
    assert is_writable_pte(spte_of(m, 1))
    assert locked(m, rmap_write_protect(m, 6, 2)) == ([TRACK_PROTECT], True)
    assert not is_writable_pte(spte_of(m, 5))


@BOTH
def test_a_harvest_protects_the_gfns_of_its_mask(semantics: Semantics) -> None:
    slots = (SlotConfig(base=2, npages=6, hva=2, logging=True),)
    m, _ = machine(shadow("anon", "anon", paging="ept-ad-nopml", slots=slots), semantics)
    for gfn in range(2, 8):
        fault(m, gfn)
    points, _ = locked(m, kvm_mmu_write_protect_pt_masked(m, m.memslots[0], 4, 0b10))
    assert points == [GET_PROTECT]
    assert [gfn for gfn in range(2, 8) if not is_writable_pte(spte_of(m, gfn))] == [7]
    assert is_mmu_writable_spte(m.masks, spte_of(m, 7))
    assert locked(m, kvm_mmu_write_protect_pt_masked(m, m.memslots[0], 4, 0b10))[0] == []
    assert flushes(m) == 0


@BOTH
def test_with_pml_a_harvest_clears_the_dirty_bit_and_leaves_w(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", logging=True), semantics)
    for gfn in range(4):
        fault(m, gfn)
    points, _ = locked(m, kvm_mmu_clear_dirty_pt_masked(m, m.memslots[0], 0, 0b0110))
    assert points == [GET_PROTECT] * 2
    assert [gfn for gfn in range(4) if not spte_of(m, gfn) & D] == [1, 2]
    assert all(is_writable_pte(spte_of(m, gfn)) for gfn in range(4))
    assert flushes(m) == 0


@BOTH
def test_clearing_dirty_in_a_slot_is_for_small_pages_only(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", "thp"), semantics)
    fault(m, 1)
    fault(m, 5)
    points, _ = locked(m, rmap_clear_dirty_slot(m, m.memslots[0]))
    assert points == [LOG_CLEAR_W] * 4
    assert not spte_of(m, 1) & D
    assert spte_of(m, 5) & D


@BOTH
def test_spte_without_a_dirty_bit_loses_w_instead(semantics: Semantics) -> None:
    m, _ = machine(shadow("anon", paging="ept-noad"), semantics)
    fault(m, 1)
    assert locked(m, rmap_clear_dirty_slot(m, m.memslots[0]))[0] == [LOG_CLEAR_W]
    assert spte_of(m, 1) & (W | MMUW) == MMUW
    assert locked(m, rmap_clear_dirty_slot(m, m.memslots[0]))[0] == []


# --- obsolete pages --------------------------------------------------------------------------------------------


@BOTH
def test_deleting_a_slot_frees_everything_but_the_root_in_use(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon", "thp"), semantics)
    access(m, 0, 1, write=True)
    access(m, 1, 5, write=True)
    root = m.x86_vcpus[0].root
    assert root is not None
    tables = list(m.page_tables)
    points = ioctl(m, kvm_delete_memslot(m, 0))
    assert points.count(FRONT_FLUSH) == 1
    assert flushes(m) == 1
    assert m.rmap == {}
    assert m.active_mmu_pages == []
    assert root.invalid
    assert oracle.freed == [sp for sp in tables if sp is not root]
    check_rmaps(m)

    for vcpu in m.x86_vcpus:
        assert not root.freed
        m.actor = int(vcpu.number)
        run(kvm_mmu_free_obsolete_roots(m, vcpu))
        run(kvm_mmu_reload(m, vcpu))
    assert root.freed
    assert flushes(m) == 2
    assert m.x86_vcpus[0].root is m.x86_vcpus[1].root
    assert m.active_mmu_pages == [m.x86_vcpus[0].root]
    assert oracle.warnings == []


@BOTH
def test_a_current_page_is_neither_zapped_nor_mistaken_for_an_obsolete_one(semantics: Semantics) -> None:
    """A vCPU loads a new root and maps the other slot again while zapping has dropped mmu_lock."""
    slots = (SlotConfig(base=0, npages=4, hva=0), SlotConfig(base=4, npages=8, hva=4))
    m, oracle = machine(shadow("anon", "anon", "anon", slots=slots), semantics)
    for gfn in (1, 5, 9):
        access(m, 0, gfn, write=True)
    old_root = m.x86_vcpus[0].root
    m.actor = IOCTL
    m.resched = -1
    flow = kvm_delete_memslot(m, 0)
    while next(flow) != FRONT_YIELD:
        pass
    assert m.mmu_lock.state == 0
    assert oracle.freed == []
    resched = m.resched

    access(m, 0, 5, write=True)
    new_root = m.x86_vcpus[0].root
    assert new_root is not old_root
    m.actor = IOCTL
    m.resched = resched
    run(flow)
    assert mapped(m, 12) == [4, 5, 6, 7]
    assert all(sp.mmu_valid_gen == m.mmu_valid_gen for sp in m.active_mmu_pages)
    assert new_root in m.active_mmu_pages
    check_rmaps(m)
    assert oracle.warnings == []


@BOTH
def test_a_zapped_page_is_not_freed_under_a_lockless_walker(semantics: Semantics) -> None:
    m, oracle = machine(shadow("anon", paging="ept-noad"), semantics)
    access(m, 0, 1, write=True)
    locked(m, kvm_age_gfn(m, 1, 2, False))
    table, _ = entry(m, 1)
    m.actor = 1
    walker = fast_page_fault(m, m.x86_vcpus[1], KvmPageFault(1, True, False, False, False))
    assert FPF_READ in walker
    ioctl(m, kvm_delete_memslot(m, 0))
    assert table.unlinked
    assert table not in oracle.freed
    m.actor = 1
    run(walker)
    assert table.freed
    assert table.spt[1] == SHADOW_NONPRESENT_VALUE  # its cmpxchg met an emptied table


def test_an_spte_that_is_not_in_its_rmap_is_a_bug() -> None:
    """pte_list_remove(): KVM_BUG_ON_DATA_CORRUPTION(), and KVM goes on."""
    m, _ = machine(shadow("anon"))
    sp = m.alloc_table(1, 0, None)
    rmap_add(m, sp, 0)
    for index in (1, 2):
        with pytest.raises(AssertionError, match=r"^pte_list_remove: the rmap is empty$"):
            rmap_remove(m, sp, index)
    rmap_remove(m, sp, 0)
    assert not m.rmap
    rmap_add(m, sp, 1)
    other = m.alloc_table(1, 0, None)
    with pytest.raises(AssertionError, match=r"^pte_list_remove"):
        rmap_remove(m, other, 1)
