# SPDX-License-Identifier: GPL-2.0-only
"""Letting go of a page: which marks it gets, which page is put, and what is guessed from a pfn."""

from collections.abc import Callable
from typing import Any

import pytest
from mypy_extensions import i64

from reference_mmu.kvm import release
from reference_mmu.kvm.kvm import Kvm
from reference_mmu.kvm.pfn import KVM_PFN_ERR_FAULT, KVM_PFN_NOSLOT, NO_PAGE
from reference_mmu.mm.gup import fault_in_user
from reference_mmu.mm.page import Page
from reference_mmu.mm.vma import KINDS
from reference_mmu.observed import COUNT_ACCESSED_MARKS, COUNT_DIRTY_MARKS, COUNT_PAGE_LOOKUPS
from tests.by_hand import MM, Thread
from tests.host_memory import Memory

Release = Callable[[Kvm, i64], None]

BY_PAGE = (release.kvm_release_page_unused, release.kvm_release_page_clean, release.kvm_release_page_dirty)
BY_PFN = (release.kvm_release_pfn_clean, release.kvm_release_pfn_dirty)
ALONE = (release.kvm_set_pfn_accessed, release.kvm_set_pfn_dirty)
DIRTY = (release.kvm_release_page_dirty, release.kvm_release_pfn_dirty, release.kvm_set_pfn_dirty)
NOT_ACCESSED = (release.kvm_release_page_unused, release.kvm_set_pfn_dirty)

NOT_GUESSED = {"pfnmap-nostruct", "pfnmap-reserved"}
UNMARKED = {"untouched", "fsdax", "devdax", "pfnmap-reserved"}  # PG_reserved
MARKED = [kind for kind in KINDS if kind not in {*UNMARKED, "pfnmap-nostruct", "hwpoison"}]


class Taken(Memory):
    """The page at hva 0 is clean, and there is a reference of KVM's to it for each that is asked for."""

    def __init__(self, kind: str, references: int = 1) -> None:
        super().__init__(kind)
        self.run(MM, fault_in_user(self.m, 0, False))
        self.pfn = int(self.m.host.pte[0])
        for _ in range(references):
            self.take(self.pfn)
        self.m.mmu_lock.write_lock(0)

    def let_go(self, how: Callable[..., None], *args: Any) -> Thread:
        return self.run(0, self._call(how, *args))

    def _call(self, how: Callable[..., None], *args: Any) -> Any:
        yield from ()
        how(self.m, *args)

    def marks(self) -> tuple[bool, int]:
        """PG_dirty, and how often the page was marked accessed."""
        return self.page().dirty, int(self.page().accessed)


@pytest.mark.parametrize("how", [*BY_PAGE, *BY_PFN])
@pytest.mark.parametrize("kind", MARKED)
def test_the_page_is_marked_and_put(kind: str, how: Release) -> None:
    taken = Taken(kind)
    before = int(taken.page().refcount)
    thread = taken.let_go(how, taken.pfn)
    dirty, accessed = how in DIRTY, how not in NOT_ACCESSED
    assert taken.marks() == (dirty, accessed)
    assert (thread.count(COUNT_DIRTY_MARKS), thread.count(COUNT_ACCESSED_MARKS)) == (dirty, accessed)
    assert (taken.page().refcount, taken.page().kvm_refs) == (before - 1, 0)
    assert taken.violations == []


@pytest.mark.parametrize("how", [*BY_PAGE, *BY_PFN])
@pytest.mark.parametrize("kind", sorted(UNMARKED - NOT_GUESSED))
def test_a_reserved_page_is_put_but_belongs_to_somebody_else(kind: str, how: Release) -> None:
    taken = Taken(kind)
    taken.let_go(how, taken.pfn)
    assert taken.marks() == (False, 0)
    assert taken.page().kvm_refs == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hwpoison"])
def test_the_guess(kind: str) -> None:
    taken = Taken(kind)
    assert release.kvm_pfn_to_refcounted_page(taken.m, taken.pfn) == (NO_PAGE if kind in NOT_GUESSED else taken.pfn)


@pytest.mark.parametrize("how", BY_PFN)
@pytest.mark.parametrize("kind", sorted(NOT_GUESSED))
def test_nothing_is_put_where_nothing_is_guessed(kind: str, how: Release) -> None:
    taken = Taken(kind, references=0)
    before = int(taken.page().refcount)
    assert taken.let_go(how, taken.pfn).count(COUNT_PAGE_LOOKUPS) == 1
    assert (int(taken.page().refcount), taken.marks()) == (before, (False, 0))
    assert taken.violations == []


def test_what_the_device_has_back_is_no_page_of_a_device() -> None:
    taken = Taken("fsdax", references=0)
    taken.page().refcount = 0
    thread = taken.let_go(release.kvm_release_pfn_clean, taken.pfn)
    assert thread.warnings == 1
    assert taken.page().refcount == 0


@pytest.mark.parametrize("how", [*BY_PAGE, *BY_PFN])
def test_null_and_error_pfns_are_nothing(how: Release) -> None:
    taken = Taken("anon")
    for nothing in (NO_PAGE,) if how in BY_PAGE else (KVM_PFN_ERR_FAULT, KVM_PFN_NOSLOT):
        thread = taken.let_go(how, nothing)
        assert (thread.events(), thread.count(COUNT_PAGE_LOOKUPS)) == ([], 0)
    assert (taken.page().kvm_refs, taken.marks(), taken.violations) == (1, (False, 0), [])


# --- marks without a put ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ALONE)
@pytest.mark.parametrize(
    ("kind", "marked"), [("anon", True), ("pfnmap-unrefcounted", True), ("fsdax", False), ("pfnmap-nostruct", False)]
)
def test_a_mark_by_pfn_asks_only_for_a_struct_page(kind: str, marked: bool, how: Release) -> None:
    taken = Taken(kind)
    taken.let_go(how, taken.pfn)
    assert taken.marks() == (marked and how in DIRTY, marked and how not in NOT_ACCESSED)
    assert taken.page().kvm_refs == 1


@pytest.mark.parametrize("how", ALONE)
def test_a_mark_of_no_pfn_is_warned_about(how: Release) -> None:
    taken = Taken("anon")
    assert taken.let_go(how, KVM_PFN_ERR_FAULT).warnings == 1
    assert taken.marks() == (False, 0)


# --- at the end of a fault -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unused", "dirty", "marks"),
    [(True, True, (False, 0)), (True, False, (False, 0)), (False, True, (True, 1)), (False, False, (False, 1))],
)
def test_a_fault_marks_what_it_has_used(unused: bool, dirty: bool, marks: tuple[bool, int]) -> None:
    taken = Taken("anon")
    taken.let_go(release.kvm_release_faultin_page, taken.pfn, unused, dirty)
    assert (taken.marks(), int(taken.page().kvm_refs), taken.violations) == (marks, 0, [])


@pytest.mark.parametrize(("unused", "violations"), [(True, []), (False, ["lockdep"])])
def test_marks_come_under_mmu_lock(unused: bool, violations: list[str]) -> None:
    taken = Taken("anon")
    taken.m.mmu_lock.write_unlock(0)
    taken.let_go(release.kvm_release_faultin_page, NO_PAGE, unused, True)
    assert taken.violations == violations


# --- the pfn that was rounded down -----------------------------------------------------------------------------------


def counts(page: Page) -> tuple[int, int]:
    return int(page.refcount), int(page.kvm_refs)


@pytest.mark.parametrize(("kind", "is_folio"), [("thp", True), ("devdax", True), ("fsdax", False)])
def test_the_first_pfn_of_a_huge_page_stands_for_the_others_only_within_a_folio(kind: str, is_folio: bool) -> None:
    memory = Memory(kind)
    first, second = (int(memory.m.host.pte[hva]) for hva in range(2))
    before = counts(memory.page(0))
    memory.take(second)
    memory.m.mmu_lock.write_lock(0)
    release.kvm_release_pfn_clean(memory.m, first)
    if is_folio:
        assert counts(memory.page(1)) == before
        return
    assert counts(memory.page(0)) == (before[0] - 1, -1)  # put, and never taken
    assert counts(memory.page(1)) == (before[0] + 1, 1)  # taken, and never put
    assert memory.violations != []
