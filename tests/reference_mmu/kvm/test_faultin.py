# SPDX-License-Identifier: GPL-2.0-only
"""The entry points on top of kvm_follow_pfn(): what each asks for, and what its caller keeps."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.faultin import (
    Faultin,
    best_look_up,
    gfn_to_page,
    gfn_to_pfn,
    gfn_to_pfn_memslot,
    gfn_to_pfn_memslot_atomic,
    gfn_to_pfn_prot,
    kvm_faultin_pfn,
    kvm_faultin_pfn_without_writable,
)
from reference_mmu.kvm.memslots import search_memslots
from reference_mmu.kvm.pfn import NO_PAGE
from reference_mmu.mm.gup import FOLL_NOWAIT, FOLL_WRITE
from reference_mmu.mm.host import HOST_SHARED
from reference_mmu.observed import COUNT_GUP
from tests.host_memory import ERRORS, Memory
from tests.parameters import BOTH

FAULTIN = pytest.mark.parametrize("spec", ["old+add-kvm-faultin-pfn", "new"])
LAST_BY_PFN = parse_semantics("new-drop-gfn-to-pfn")
"""The latest kernel that has gfn_to_pfn() and its variants."""
BY_PFN = pytest.mark.parametrize("semantics", [OLD, LAST_BY_PFN], ids=["old", "last"])
READ_ONLY_SLOT = (SlotConfig(0, 8, 0, readonly=True),)


@FAULTIN
@pytest.mark.parametrize("garbage", [False, True])
@pytest.mark.parametrize(
    ("kind", "foll", "what", "writable"),
    [
        ("anon", 0, "page", True),
        ("cow", 0, "page", False),
        ("hwpoison", 0, "hwpoison", False),
        ("readonly", FOLL_WRITE, "fault", False),
    ],
)
def test_a_fault_gets_both_outputs_whatever_comes_of_it(
    kind: str, foll: int, what: str, writable: bool, garbage: bool, spec: str
) -> None:
    memory = Memory(kind, parse_semantics(spec))
    out = Faultin(garbage)
    out.page = 77
    pfn = memory.run(0, kvm_faultin_pfn(memory.m, memory.slot, 0, foll, out)).result
    assert ERRORS.get(pfn, "page") == what
    assert (out.writable, out.page) == (writable, pfn if what == "page" else NO_PAGE)


@FAULTIN
def test_outputs_without_a_slot(spec: str) -> None:
    memory = Memory("anon", parse_semantics(spec))
    out = Faultin(True)
    pfn = memory.run(0, kvm_faultin_pfn(memory.m, None, 0, 0, out)).result
    assert (ERRORS[pfn], out.writable, out.page) == ("no slot", False, NO_PAGE)


def test_null_for_writable_is_refused_before_anything_is_looked_up() -> None:
    memory = Memory("anon", NEW)
    thread = memory.run(0, kvm_faultin_pfn_without_writable(memory.m, memory.slot, 0, FOLL_WRITE, Faultin(False)))
    assert (ERRORS[thread.result], thread.warnings, thread.count(COUNT_GUP)) == ("fault", 1, 0)


@pytest.mark.parametrize("kind", ["cow", "ksm"])
def test_old_entry_points_leave_it_to_the_callers_variable(kind: str) -> None:
    """Between introduce-kvm-follow-pfn and follow-pfn-refcounted-page-output."""
    for spec, left in (
        ("old", False),
        ("old+introduce-kvm-follow-pfn", True),
        ("new-drop-gfn-to-pfn", False),
    ):
        memory = Memory(kind, parse_semantics(spec))
        by_flags, by_write = Faultin(True), Faultin(True)
        memory.run(0, gfn_to_pfn_memslot(memory.m, memory.slot, 0, 0, by_flags))
        memory.run(0, gfn_to_pfn_prot(memory.m, memory.slot, 0, False, by_write))
        assert (by_flags.writable, by_write.writable) == (left, left)


@BY_PFN
@pytest.mark.parametrize(("kind", "needs_io"), [("swapped", True), ("anon", False), ("readonly", False)])
def test_whether_it_is_io_that_is_missing(kind: str, needs_io: bool, semantics: Semantics) -> None:
    memory = Memory(kind, semantics)
    out = Faultin(False)
    foll = FOLL_NOWAIT | FOLL_WRITE
    pfn = memory.run(0, gfn_to_pfn_memslot(memory.m, memory.slot, 0, foll, out)).result
    assert out.needs_io == needs_io
    assert (
        ERRORS.get(pfn, "page")
        == {
            "swapped": "fault" if semantics is OLD else "needs io",
            "anon": "page",
            "readonly": "fault",
        }[kind]
    )


@BY_PFN
def test_a_caller_without_a_variable_reads_without_asking_for_more(semantics: Semantics) -> None:
    memory = Memory("anon", semantics)
    thread = memory.run(0, gfn_to_pfn(memory.m, memory.slot, 0, False))
    assert (thread.result, thread.count(COUNT_GUP)) == (memory.m.host.pte[0], 1)


@pytest.mark.parametrize(("kind", "what"), [("anon", "page"), ("cow", "fault"), ("pfnmap-nostruct", "fault")])
def test_the_atomic_one_takes_what_fast_gup_gets(kind: str, what: str) -> None:
    memory = Memory(kind, OLD)
    memory.m.mmu_lock.write_lock(0)
    thread = memory.run(0, gfn_to_pfn_memslot_atomic(memory.m, memory.slot, 0))
    assert (ERRORS.get(thread.result, "page"), thread.points, memory.violations) == (what, [], [])


# --- what there is, and what it takes to be answered -----------------------------------------------------------------


@pytest.mark.parametrize(("spec", "left"), [("old+introduce-kvm-follow-pfn", True), ("old+add-kvm-faultin-pfn", False)])
def test_the_best_look_up_sets_its_outputs_since_there_is_one_for_faults(spec: str, left: bool) -> None:
    memory = Memory("hwpoison", parse_semantics(spec))
    out = Faultin(True)
    pfn = memory.run(0, best_look_up(memory.m, memory.slot, 0, 0, out)).result
    assert (ERRORS[pfn], out.writable) == ("hwpoison", left)


@pytest.mark.reaches("bug")
def test_what_is_gone_cannot_be_called() -> None:
    for semantics, violations in (
        (LAST_BY_PFN, []),
        (parse_semantics("new-follow-pfn-refcounted-page-required"), ["bug"]),
    ):
        memory = Memory("anon", semantics)
        assert memory.run(0, gfn_to_pfn(memory.m, memory.slot, 0, True)).result == memory.m.host.pte[0]
        assert memory.violations == violations


@pytest.mark.parametrize(
    ("slots", "what", "warnings"),
    [((SlotConfig(0, 8, 0),), "fault", 1), (READ_ONLY_SLOT, "read-only", 0), ((SlotConfig(4, 4, 0),), "no slot", 0)],
)
def test_without_a_place_for_the_page_nothing_is_looked_up(
    slots: tuple[SlotConfig, ...], what: str, warnings: int
) -> None:
    memory = Memory("anon", NEW, slots=slots)
    thread = memory.run(0, gfn_to_pfn(memory.m, search_memslots(memory.m.memslots, 0), 0, True))
    assert (ERRORS[thread.result], thread.warnings, thread.count(COUNT_GUP)) == (what, warnings, 0)


# --- gfn_to_page() ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("anon", True, True),
        ("cow", True, True),
        ("fsdax", True, True),
        ("untouched", True, True),
        ("pfnmap-nostruct", False, False),
        ("pfnmap-refcounted", True, False),
        ("pfnmap-unrefcounted", False, False),
        ("pfnmap-reserved", False, False),
        ("hwpoison", False, False),
        ("readonly", False, False),
    ],
)
def test_the_page_and_one_reference_or_none(kind: str, old: bool, new: bool) -> None:
    for semantics, found in ((OLD, old), (parse_semantics("old+gfn-to-page-exact"), old), (NEW, new)):
        memory = Memory(kind, semantics)
        page = memory.run(0, gfn_to_page(memory.m, memory.slot, 0, True)).result
        if found:
            assert page == memory.m.host.pte[0]
            assert memory.page().kvm_refs == 1
        else:
            assert page == NO_PAGE
            assert all(struct.kvm_refs == 0 for struct in memory.m.host.pages)


@BOTH
def test_there_is_no_page_to_be_written_in_a_read_only_slot(semantics: Semantics) -> None:
    memory = Memory("anon", semantics, slots=READ_ONLY_SLOT)
    assert memory.run(0, gfn_to_page(memory.m, memory.slot, 0, True)).result == NO_PAGE
    assert memory.run(0, gfn_to_page(memory.m, None, 0, True)).result == NO_PAGE


@pytest.mark.parametrize(
    ("spec", "copies"), [("old", True), ("old+gfn-to-page-exact", True), ("old+gfn-to-page-read-only", False)]
)
def test_who_only_reads_breaks_no_copy_on_write_once_he_can_say_so(spec: str, copies: bool) -> None:
    memory = Memory("cow", parse_semantics(spec))
    shared = int(memory.m.host.pte[0])
    page = memory.run(0, gfn_to_page(memory.m, memory.slot, 0, False)).result
    assert (page != shared) == copies
    assert bool(memory.m.host.flags[0] & HOST_SHARED) != copies
