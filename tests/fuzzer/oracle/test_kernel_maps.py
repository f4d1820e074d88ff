# SPDX-License-Identifier: GPL-2.0-only
"""Guest memory that KVM maps for itself has to be pinned, and every pin to be dropped."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.kvm.pfncache import kvm_gpc_refresh
from reference_mmu.kvm.release import kvm_set_page_dirty
from reference_mmu.kvm.vcpu_map import vcpu_map_page
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.points import GPC_CHECK, MAP_USE
from tests.by_hand import MM
from tests.host_memory import Memory


def mapped(memory: Memory, *, write: bool = True) -> Memory:
    """KVM has mapped gfn 0."""
    memory.thread(0, vcpu_map_page(memory.m, 0, write)).to(MAP_USE)
    return memory


def test_accepts_a_pin() -> None:
    memory = Memory("anon", NEW)
    memory.run(0, vcpu_map_page(memory.m, 0, True))
    assert memory.final_violations() == []


@pytest.mark.reaches("unpinned-map")
@pytest.mark.parametrize("kind", ["anon", "pfnmap-nostruct"])
def test_rejects_a_reference_or_nothing(kind: str) -> None:
    assert mapped(Memory(kind, OLD)).violations == ["unpinned-map"]


def test_rejects_a_pin_that_stays() -> None:
    assert mapped(Memory("anon", NEW)).final_violations() == ["refcount-leak"]


@pytest.mark.reaches("map-without-reference")
def test_rejects_a_pin_that_is_dropped_before_the_use() -> None:
    memory = Memory("anon", NEW)
    flow = memory.thread(0, vcpu_map_page(memory.m, 0, True)).to(MAP_USE)
    memory.m.kvm_unpin_page(memory.m.host.pte[0])
    assert memory.violations == []
    flow.step()
    assert memory.violations == ["map-without-reference"]


def test_rejects_a_mark_after_the_pin_was_dropped() -> None:
    memory = mapped(Memory("anon", NEW))
    pfn = memory.m.host.pte[0]
    kvm_set_page_dirty(memory.m, pfn)
    assert memory.violations == []
    memory.m.kvm_unpin_page(pfn)
    kvm_set_page_dirty(memory.m, pfn)
    assert memory.violations == ["mark-without-reference"]


def test_rejects_a_cache_of_a_page_that_the_process_has_given_away() -> None:
    memory = Memory("anon", NEW)
    pfn = memory.m.host.pte[0]
    memory.judge.cache_refreshed(memory.m, pfn)
    assert memory.violations == []
    memory.run(MM, discard(memory.m, 0, 1))
    memory.judge.cache_refreshed(memory.m, pfn)
    assert memory.violations == ["mapped-gone-page"]


def test_rejects_the_use_of_what_is_unmapped() -> None:
    memory = mapped(Memory("anon", NEW))
    pfn = memory.m.host.pte[0]
    memory.judge.vcpu_unmapped(memory.m, pfn)
    memory.judge.mapped_page_used(memory.m, pfn)
    assert memory.violations == ["map-without-reference"]


def test_rejects_a_mapping_that_is_made_after_the_reference_was_dropped() -> None:
    memory = Memory("anon", NEW)
    memory.judge.vcpu_mapped(memory.m, memory.m.host.pte[0], True)
    assert memory.violations == ["map-without-reference"]


def test_rejects_a_pin_that_is_dropped_twice() -> None:
    memory = Memory("anon", NEW)
    memory.judge.page_unpinned(memory.m, memory.m.host.pte[0])
    assert memory.violations == ["refcount-underflow"]


def test_legal_what_the_administrator_allows_and_the_zero_page() -> None:
    assert mapped(Memory("pfnmap-nostruct", OLD, unsafe_mappings=True)).violations == []
    assert mapped(Memory("untouched", NEW), write=False).violations == []


def test_legal_marks_of_whoever_unmaps_without_mmu_lock() -> None:
    memory = Memory("anon", OLD, unsafe_mappings=True)
    memory.run(0, vcpu_map_page(memory.m, 0, True))
    assert memory.final_violations() == []


@pytest.mark.reaches("stale-cache")
def test_rejects_a_cache_of_a_page_that_was_invalidated_and_is_there_again() -> None:
    memory = Memory("anon", NEW)
    memory.thread(0, kvm_gpc_refresh(memory.m, 0)).to(GPC_CHECK)
    memory.run(MM, change_protection_numa(memory.m, 0, 1))
    memory.m.actor = 0
    memory.judge.cache_refreshed(memory.m, memory.m.host.pte[0])
    assert memory.violations == ["stale-cache"]


def test_accepts_a_cache_whose_page_was_looked_up_again() -> None:
    memory = Memory("anon", NEW)
    thread = memory.thread(0, kvm_gpc_refresh(memory.m, 0)).to(GPC_CHECK)
    memory.run(MM, change_protection_numa(memory.m, 0, 1))
    thread.finish()
    assert memory.violations == []


def test_legal_a_cache_that_is_invalidated_afterwards() -> None:
    memory = Memory("anon", NEW)
    memory.run(0, kvm_gpc_refresh(memory.m, 0))
    memory.run(MM, change_protection_numa(memory.m, 0, 1))
    assert memory.violations == []
