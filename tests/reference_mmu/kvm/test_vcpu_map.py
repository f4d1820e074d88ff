# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory that KVM maps for itself: what it takes, what it lets go of, what it marks, and what it refuses."""

from typing import NamedTuple

import pytest

from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.vcpu_map import NO_HVA, KvmHostMap, kvm_vcpu_map, kvm_vcpu_unmap, vcpu_map_page
from reference_mmu.mm.errno import EINVAL
from reference_mmu.mm.ksm import share_page
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.page import GUP_PIN_COUNTING_BIAS
from reference_mmu.observed import COUNT_ACCESSED_MARKS, COUNT_DIRTY_MARKS, EV_MAP, EV_SHIFT, MAP_PINNED, MAP_REFUSED
from reference_mmu.observed import MAP_UNPINNED as UNPINNED
from reference_mmu.points import MAP_UNMAP, MAP_USE
from tests.by_hand import MM, VALUE, Thread
from tests.host_memory import Memory

BEFORE_PINS = Semantics(closure(["vcpu-map-follow-pfn"]))
PINS = Semantics(closure(["vcpu-map-foll-pin"]))


def mapping(memory: Memory, *, write: bool = True, gfn: int = 0) -> Thread:
    """KVM maps a page and uses it: not yet begun."""
    return memory.thread(0, vcpu_map_page(memory.m, gfn, write))


def answers(thread: Thread) -> list[int]:
    """MAP_* of each map."""
    return [event & VALUE for event in thread.events() if event >> EV_SHIFT == EV_MAP]


class Held(NamedTuple):
    answer: int
    refcount: int  # more than without the map
    refs: int
    pins: int


def held(kind: str, semantics: Semantics, *, write: bool = True) -> Held:
    """What a live map of a page of that kind holds."""
    memory = Memory(kind, semantics)
    before = memory.page().refcount if memory.m.host.pte[0] >= 0 else 1
    thread = mapping(memory, write=write).to(MAP_USE)
    page = memory.page()
    (answer,) = answers(thread)
    found = Held(answer, int(page.refcount - before), int(page.kvm_refs), int(page.kvm_pins))
    thread.finish()
    assert (page.kvm_refs, page.kvm_pins) == (0, 0)
    return found


@pytest.mark.parametrize(
    ("kind", "semantics", "expected"),
    [
        ("anon", OLD, Held(int(UNPINNED), 1, 1, 0)),
        ("anon", BEFORE_PINS, Held(int(UNPINNED), 1, 1, 0)),
        ("anon", PINS, Held(int(MAP_PINNED), int(GUP_PIN_COUNTING_BIAS), 0, 1)),
        ("thp", PINS, Held(int(MAP_PINNED), 1, 0, 1)),
        ("pfnmap-refcounted", OLD, Held(int(UNPINNED), 1, 1, 0)),
        ("pfnmap-refcounted", PINS, Held(int(UNPINNED), 0, 0, 0)),
        ("pfnmap-nostruct", OLD, Held(int(UNPINNED), 0, 0, 0)),
    ],
)
def test_a_map_holds_a_reference_or_a_pin_or_nothing(kind: str, semantics: Semantics, expected: Held) -> None:
    assert held(kind, semantics) == expected


def test_the_zero_page_counts_no_pin() -> None:
    found = held("untouched", NEW, write=False)
    assert (found.answer, found.pins) == (MAP_PINNED, 0)


@pytest.mark.parametrize(("unsafe", "answer"), [(False, MAP_REFUSED), (True, UNPINNED)])
def test_what_cannot_be_pinned_is_refused_unless_the_module_is_told_otherwise(unsafe: bool, answer: int) -> None:
    memory = Memory("pfnmap-refcounted", NEW, unsafe_mappings=unsafe)
    assert answers(mapping(memory).finish()) == [answer]
    assert memory.final_violations() == []


@pytest.mark.parametrize(("semantics", "answer"), [(OLD, MAP_REFUSED), (NEW, MAP_PINNED)])
def test_a_map_for_reading_asks_for_no_more(semantics: Semantics, answer: int) -> None:
    assert answers(mapping(Memory("readonly", semantics), write=False).finish()) == [answer]


@pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])
@pytest.mark.parametrize("write", [False, True])
def test_unmapping_logs_and_marks_what_was_written(semantics: Semantics, write: bool) -> None:
    memory = Memory("shmem", semantics, slots=(SlotConfig(0, 4, 0, logging=True),))
    thread = mapping(memory, write=write).to(MAP_UNMAP)
    assert not memory.dirty(0)
    assert not memory.page().dirty
    thread.finish()
    assert (memory.dirty(0), memory.page().dirty) == (write, write)
    assert (thread.count(COUNT_DIRTY_MARKS), thread.count(COUNT_ACCESSED_MARKS)) == (int(write), 1)


def test_a_fork_leaves_a_pinned_page_with_the_parent() -> None:
    """Under a reference it is copied by the next write of the process, and KVM goes on with the page of the child."""
    for semantics, lost in ((OLD, True), (NEW, False)):
        memory = Memory("anon", semantics)
        thread = mapping(memory).to(MAP_USE)
        memory.run(MM, share_page(memory.m, 0))
        memory.write(1, 0)
        thread.finish()
        assert ("lost-write" in memory.final_violations()) == lost


def test_what_the_process_throws_away_is_lost_whoever_holds_it() -> None:
    memory = Memory("anon", NEW)
    thread = mapping(memory).to(MAP_USE)
    memory.run(MM, discard(memory.m, 0, 1))
    thread.finish()
    assert memory.final_violations() == []


def failed_after_a_success(semantics: Semantics) -> Memory:
    """A map on the stack, where an earlier one has left what it had, is unmapped although it has failed."""
    memory = Memory("anon", semantics, slots=(SlotConfig(0, 4, 0),))
    m = memory.m
    on_stack, poked = KvmHostMap(), KvmHostMap()
    m.srcu.lock(0)
    assert memory.run(0, kvm_vcpu_map(m, 0, on_stack)).result == 0
    poked.hva, poked.page, poked.pfn = on_stack.hva, on_stack.page, on_stack.pfn
    kvm_vcpu_unmap(m, on_stack, False)
    assert memory.run(0, kvm_vcpu_map(m, 7, poked)).result == -EINVAL
    m.oracle.vcpu_mapped(m, poked.hva, True)
    kvm_vcpu_unmap(m, poked, False)
    m.srcu.unlock(0)
    return memory


def test_a_failed_map_holds_nothing_since_all_its_fields_are_set() -> None:
    assert "refcount-underflow" in failed_after_a_success(OLD).violations
    after = Semantics(closure(["vcpu-map-init-all-fields"]))
    assert "refcount-underflow" not in failed_after_a_success(after).violations


def test_no_map_at_all_is_refused_until_nobody_asks() -> None:
    memory = Memory("anon", OLD)
    assert memory.run(0, kvm_vcpu_map(memory.m, 0, None)).result == -EINVAL
    kvm_vcpu_unmap(memory.m, None, False)
    with pytest.raises(AssertionError):
        memory.run(0, kvm_vcpu_map(Memory("anon", NEW).m, 0, None))


def test_a_map_is_empty_after_it_was_unmapped() -> None:
    memory = Memory("anon", NEW)
    host_map = KvmHostMap()
    memory.m.srcu.lock(0)
    memory.run(0, kvm_vcpu_map(memory.m, 0, host_map))
    kvm_vcpu_unmap(memory.m, host_map, True)
    kvm_vcpu_unmap(memory.m, host_map, True)
    memory.m.srcu.unlock(0)
    assert host_map.hva == NO_HVA
    assert memory.final_violations() == []
