# SPDX-License-Identifier: GPL-2.0-only
"""GUP on its own: what the fast path gets without a fault, and what the slow one faults in."""

import pytest

from reference_mmu.mm.errno import EAGAIN, EFAULT, EHWPOISON, EINTR
from reference_mmu.mm.gup import (
    FOLL_INTERRUPTIBLE,
    FOLL_NOWAIT,
    FOLL_PIN,
    FOLL_TRIED,
    FOLL_WRITE,
    fault_in_user,
    fixup_user_fault,
    get_user_pages,
    get_user_pages_unlocked,
    gup_fast,
    gup_must_unshare,
)
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_W, PTE_BUSY, PTE_HWPOISON, PTE_NONE, PTE_SWAP
from reference_mmu.mm.vma import KINDS
from reference_mmu.observed import COUNT_GUP, COUNT_PAGE_REFERENCES
from reference_mmu.operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_SIGNAL
from reference_mmu.points import GUP_FAULT, GUP_WAIT
from tests.by_hand import MM
from tests.host_memory import Memory

ABSENT = {"untouched", "swapped", "hwpoison"}
PFNMAP = {kind for kind in KINDS if kind.startswith("pfnmap")}
READ_ONLY = {"cow", "ksm", "readonly"}  # in the host's page table


# --- fast ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [0, FOLL_WRITE, FOLL_PIN, FOLL_PIN | FOLL_WRITE])
@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_path_takes_what_needs_no_fault(kind: str, flags: int) -> None:
    memory = Memory(kind)
    write, pin = bool(flags & FOLL_WRITE), bool(flags & FOLL_PIN)
    must_unshare = pin and kind in {"cow", "ksm"}
    gets = kind not in ABSENT | PFNMAP and not (write and kind in READ_ONLY) and not must_unshare
    dirty = memory.m.host.flags[0] & HOST_D
    assert gup_fast(memory.m, 0, flags) == gets
    if kind in ABSENT:
        return
    assert (memory.page().kvm_refs, memory.page().kvm_pins) == (gets and not pin, gets and pin)
    assert (memory.page().dirty, memory.m.host.flags[0] & HOST_D) == (False, dirty)


def test_the_fast_path_leaves_numa_hints_to_the_slow_one() -> None:
    memory = Memory("anon")
    memory.m.host.flags[0] |= HOST_PROTNONE
    assert not gup_fast(memory.m, 0, 0)
    assert memory.run(MM, get_user_pages_unlocked(memory.m, 0, FOLL_WRITE)).result == 1
    assert memory.m.host.flags[0] == HOST_W | HOST_D


def test_only_a_pin_for_reading_must_be_of_a_page_of_ones_own() -> None:
    memory = Memory("cow")
    wants = {flags: gup_must_unshare(memory.m, 0, flags) for flags in (0, FOLL_WRITE, FOLL_PIN, FOLL_PIN | FOLL_WRITE)}
    assert wants == {0: False, FOLL_WRITE: False, FOLL_PIN: True, FOLL_PIN | FOLL_WRITE: False}
    untouched = Memory("untouched")
    untouched.run(MM, fault_in_user(untouched.m, 0, False))
    assert not gup_must_unshare(untouched.m, 0, FOLL_PIN)


# --- slow ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_slow_path_faults_in_what_the_process_could_reach(kind: str, write: bool) -> None:
    memory = Memory(kind)
    thread = memory.run(0, get_user_pages_unlocked(memory.m, 0, FOLL_WRITE if write else 0))
    if kind == "hwpoison":
        assert (thread.result, memory.m.host.pte[0]) == (-EHWPOISON, PTE_HWPOISON)
    elif kind in PFNMAP or (write and kind == "readonly"):
        assert (thread.result, memory.page().kvm_refs) == (-EFAULT, 0)
    else:
        assert (thread.result, memory.page().kvm_refs) == (1, 1)
        assert not write or memory.m.host.flags[0] == HOST_W | HOST_D
    assert (thread.count(COUNT_GUP), thread.count(COUNT_PAGE_REFERENCES)) == (1, thread.result == 1)


@pytest.mark.parametrize(
    ("flags", "mishaps", "result"),
    [
        (0, 0, 1),
        (FOLL_NOWAIT, 0, 0),
        (FOLL_NOWAIT, MISHAP_SIGNAL, 0),
        (FOLL_INTERRUPTIBLE, 0, 1),
        (FOLL_INTERRUPTIBLE, MISHAP_SIGNAL, -EINTR),
        (0, MISHAP_SIGNAL, 1),
        (0, MISHAP_KILLED, -EAGAIN),
        (FOLL_NOWAIT, MISHAP_KILLED_NOWAIT, -EAGAIN),
        (0, MISHAP_KILLED_NOWAIT, -EINTR),
    ],
)
def test_who_would_have_to_wait_for_io(flags: int, mishaps: int, result: int) -> None:
    memory = Memory("swapped")
    memory.m.mishaps = mishaps
    assert memory.run(0, get_user_pages_unlocked(memory.m, 0, flags)).result == result
    assert (memory.m.host.pte[0] == PTE_SWAP) == (result != 1)


def test_a_second_try_is_one_step_with_the_first() -> None:
    memory = Memory("swapped")
    assert memory.run(0, get_user_pages_unlocked(memory.m, 0, FOLL_NOWAIT)).points == [GUP_FAULT]
    second = memory.run(0, get_user_pages_unlocked(memory.m, 0, FOLL_INTERRUPTIBLE | FOLL_TRIED))
    assert (second.result, second.points) == (1, [])


def test_a_page_that_is_locked_is_looked_at_again_when_it_is_not() -> None:
    memory = Memory("anon")
    memory.m.host.clear_pte(0, PTE_BUSY)
    waiter = memory.thread(0, get_user_pages_unlocked(memory.m, 0, FOLL_TRIED)).to(GUP_WAIT)
    assert not waiter.can_run()
    memory.m.host.pte[0] = PTE_HWPOISON
    assert waiter.finish().result == -EHWPOISON
    assert waiter.points == [GUP_WAIT]


@pytest.mark.parametrize("kind", ["cow", "untouched"])
def test_who_breaks_copy_on_write_makes_himself_stale(kind: str) -> None:
    memory = Memory(kind)
    memory.run(MM, fault_in_user(memory.m, 0, False))
    before = int(memory.m.mmu_invalidate_seq)
    memory.run(0, get_user_pages_unlocked(memory.m, 0, FOLL_WRITE))
    assert memory.m.mmu_invalidate_seq == before + 1


@pytest.mark.parametrize(
    ("kind", "mishaps", "result"),
    [
        ("swapped", 0, 1),
        ("hwpoison", 0, -EHWPOISON),
        ("readonly", MISHAP_KILLED, -EFAULT),
        ("swapped", MISHAP_KILLED, -EINTR),
        ("swapped", MISHAP_KILLED_NOWAIT, -EINTR),
    ],
)
def test_a_gup_that_takes_nothing(kind: str, mishaps: int, result: int) -> None:
    memory = Memory(kind)
    memory.m.mishaps = mishaps
    thread = memory.run(0, get_user_pages(memory.m, 0, FOLL_WRITE))
    assert (thread.result, thread.count(COUNT_GUP), thread.count(COUNT_PAGE_REFERENCES)) == (result, 1, 0)
    assert (memory.m.host.pte[0] >= 0) == (result == 1 or kind == "readonly")


# --- where GUP does not go -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(PFNMAP))
def test_the_process_itself_reaches_what_is_mapped_by_pfn(kind: str) -> None:
    memory = Memory(kind)
    memory.m.host.clear_pte(0, PTE_NONE)
    assert memory.run(MM, fault_in_user(memory.m, 0, False)).result is True
    assert (memory.m.host.flags[0], memory.page().refcount) == (HOST_W, memory.page(1).refcount)
    assert memory.run(MM, fault_in_user(memory.m, 0, True)).result is True
    assert memory.m.host.flags[0] == HOST_W | HOST_D


@pytest.mark.parametrize(
    ("kind", "write", "allowed"),
    [("anon", True, True), ("swapped", False, True), ("readonly", False, True), ("readonly", True, False),
     ("hwpoison", False, False)],
)  # fmt: skip
def test_what_the_process_may_do(kind: str, write: bool, allowed: bool) -> None:
    memory = Memory(kind)
    assert memory.run(MM, fault_in_user(memory.m, 0, write)).result is allowed


@pytest.mark.parametrize(
    ("vm_flags", "mishaps", "write", "result"),
    [
        (11, 0, False, 0),
        (11, 0, True, 0),
        (9, 0, True, -EFAULT),
        (0, 0, False, -EFAULT),
        (9, MISHAP_KILLED, True, -EFAULT),
        (11, MISHAP_KILLED, True, -EINTR),
    ],
)
def test_fixup_user_fault(vm_flags: int, mishaps: int, write: bool, result: int) -> None:
    memory = Memory("pfnmap-nostruct")
    memory.m.host.vm_flags[0] = vm_flags
    memory.m.mishaps = mishaps
    assert memory.run(0, fixup_user_fault(memory.m, 0, write)).result == result
    assert bool(memory.m.host.flags[0] & HOST_D) == (write and result == 0)


def test_fixup_user_fault_drops_the_lock_where_it_puts_a_page_in() -> None:
    memory = Memory("pfnmap-nostruct")
    memory.m.host.clear_pte(0, PTE_NONE)
    assert memory.run(0, fixup_user_fault(memory.m, 0, False)).result == -EAGAIN
    assert memory.run(0, fixup_user_fault(memory.m, 0, False)).result == 0
