# SPDX-License-Identifier: GPL-2.0-only
"""The guest page fault of RISC-V: what each step of it does to table, page and log, before the series and after it."""

from functools import partial
from typing import Any, Final

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_EMULATE, PF_ERROR, PF_FIXED, PF_RETRY
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.riscv.points import FAULT_MARK, FAULT_PUT, MAP_FENCE
from reference_mmu.stage2.points import FAULT_GUP, FAULT_LOCK, FAULT_SEQ
from reference_mmu.stage2.pte import S2_DIRTY, S2_WRITE, S2_YOUNG, is_table, is_writable, pfn_of
from tests.by_hand import IOCTL, MM
from tests.stage2_by_hand import LOGGING, OLD_AND_NEW, Stage2Stage

HUGETLB: Final[dict[str, Any]] = {"backing": ("hugetlb", "hugetlb")}
BEFORE_FAULTIN: Final = parse_semantics("no-struct-page-riscv-faultin-pfn")


stage = partial(Stage2Stage, "riscv")


@OLD_AND_NEW
def test_a_leaf_is_young_and_dirty_from_the_start(semantics: Semantics) -> None:
    riscv = stage(semantics)
    assert riscv.read(0, 1).faults == [PF_FIXED]
    bits = S2_WRITE | S2_YOUNG | S2_DIRTY
    assert riscv.leaf(1) & bits == bits
    assert riscv.page(1).dirty
    assert riscv.page(1).kvm_refs == 0


def test_what_no_slot_has_is_mmio_and_so_is_a_store_to_a_read_only_slot() -> None:
    riscv = stage(slots=(SlotConfig(base=0, npages=8, hva=0, readonly=True),))
    assert riscv.read(0, 9).faults == [PF_EMULATE]
    assert riscv.write(0, 1).faults == [PF_EMULATE]


def test_an_old_leaf_is_mapped_anew_where_software_sets_its_bit() -> None:
    riscv = stage(hardware_young=False)
    riscv.read(0, 1)
    riscv.clear_young(1, 2)
    riscv.m.flush_all()
    assert FAULT_GUP in riscv.read(0, 1).points
    assert riscv.leaf(1) & S2_YOUNG


# --- huge pages ----------------------------------------------------------------------------------------------------


@OLD_AND_NEW
def test_a_page_of_hugetlbfs_is_one_leaf(semantics: Semantics) -> None:
    riscv = stage(semantics, **HUGETLB)
    riscv.write(0, 6)
    assert [riscv.level(gfn) for gfn in (0, 4, 7)] == [0, 2, 2]
    assert pfn_of(riscv.leaf(6)) == riscv.m.host.pte[4]


def test_a_transparent_huge_page_is_mapped_page_by_page() -> None:
    riscv = stage(backing=("thp", "thp"))
    riscv.write(0, 6)
    assert riscv.level(6) == 1


@OLD_AND_NEW
def test_a_huge_leaf_that_logs_is_in_the_way(semantics: Semantics) -> None:
    """-EEXIST, which userspace gets; the page is logged and dirty all the same."""
    riscv = stage(semantics, **HUGETLB)
    riscv.read(0, 5)
    riscv.run(IOCTL, enable_dirty_log(riscv.m, 0))
    assert not is_writable(riscv.leaf(5))
    riscv.page(5).dirty = False
    assert riscv.write(0, 5).faults == [PF_ERROR]
    assert riscv.page(5).dirty
    assert riscv.dirty(5)


def test_a_table_in_the_way_of_a_huge_leaf_is_forgotten() -> None:
    riscv = stage(**HUGETLB)
    table = riscv.table_of_log(5)
    riscv.write(0, 5)
    assert (riscv.level(5), table.unlinked, table.freed) == (2, True, False)
    assert not is_table(riscv.pte(5, 2))


# --- marks -----------------------------------------------------------------------------------------------------------


def failed_map(semantics: Semantics) -> Stage2Stage:
    """A store for which no table can be made, of a vCPU that has topped up its cache before."""
    riscv = stage(semantics)
    riscv.read(0, 1)
    riscv.page(5).accessed = 0
    riscv.m.mishaps = MISHAP_NO_MEMORY
    assert riscv.write(0, 5).faults == [PF_ERROR]
    assert riscv.leaf(5) == 0
    assert riscv.page(5).kvm_refs == 0
    return riscv


@pytest.mark.parametrize(
    ("semantics", "dirty", "accessed"),
    [(OLD, True, 2), (BEFORE_FAULTIN, False, 1), (NEW, False, 0)],
    ids=["old", "before-faultin", "new"],
)
def test_a_page_that_could_not_be_mapped(semantics: Semantics, dirty: bool, accessed: int) -> None:
    riscv = failed_map(semantics)
    assert (riscv.page(5).dirty, riscv.page(5).accessed) == (dirty, accessed)


def test_before_the_series_a_page_is_marked_twice_when_mmu_lock_is_released() -> None:
    riscv = stage(OLD)
    store = riscv.access(0, 1, write=True).to(FAULT_MARK)
    assert (riscv.page(1).accessed, riscv.page(1).kvm_refs, riscv.violations) == (0, 1, [])
    store.to(FAULT_PUT)
    assert riscv.page(1).accessed == 1
    store.finish()
    assert (riscv.page(1).accessed, riscv.page(1).kvm_refs) == (2, 0)
    assert riscv.violations == ["late-page-mark"]


def test_since_the_series_marks_come_under_mmu_lock() -> None:
    riscv = stage(NEW, **LOGGING)
    store = riscv.access(0, 1, write=True).to(MAP_FENCE)
    assert riscv.dirty(1)
    assert not riscv.page(1).dirty
    store.finish()
    assert (riscv.page(1).dirty, riscv.page(1).accessed) == (True, 1)
    assert not {FAULT_MARK, FAULT_PUT} & set(store.points)
    assert riscv.final_violations() == []


@pytest.mark.parametrize(("semantics", "dirty"), [(OLD, False), (NEW, True)], ids=["old", "new"])
def test_a_stale_attempt_counts_as_one_that_has_mapped(semantics: Semantics, dirty: bool) -> None:
    """It ends with ret == 0, so since riscv-dirty-iff-pte-installed it marks a page dirty that it has not mapped."""
    riscv = stage(semantics)
    store = riscv.access(0, 1, write=True).to(FAULT_LOCK)
    riscv.begin_invalidation(1, 2)
    store.to(FAULT_SEQ)  # once more
    assert store.faults == [PF_RETRY]
    assert riscv.leaf(1) == 0
    assert riscv.page(1).dirty == dirty
    assert riscv.page(1).accessed > 0
    riscv.end_invalidation(1, 2)
    store.finish()
    assert riscv.page(1).kvm_refs == 0


def test_an_invalidation_of_any_range_makes_a_fault_stale() -> None:
    riscv = stage()
    store = riscv.access(0, 1, write=True).to(FAULT_GUP)
    riscv.run(MM, change_protection_numa(riscv.m, 6, 7))
    store.finish()
    assert store.faults == [PF_RETRY, PF_FIXED]
