# SPDX-License-Identifier: GPL-2.0-only
"""What a vCPU caches: rules T1 to T8, one test or two for each; and where it is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_mmu.kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_R, TLB_W, TlbEntries
from reference_mmu.points import FAULT_ENTER
from reference_mmu.x86.points import WALK_DIRTY, WALK_FILL, WALK_LEAF, WALK_TABLE
from reference_mmu.x86.spte import PT_WRITABLE_MASK, SHADOW_NONPRESENT_VALUE, VMX_EPT_ACCESS_BIT, VMX_EPT_DIRTY_BIT
from tests.by_hand import Stage

RWD = TLB_R | TLB_W | TLB_D


def stage_with(gfn: int = 1, **config: Any) -> Stage:
    """gfn mapped writable by vCPU 0; nobody has it cached."""
    stage = Stage(**config)
    stage.write(0, gfn)
    stage.m.flush_all()
    return stage


def test_t1_each_level_is_a_read_of_its_own() -> None:
    stage = stage_with()
    assert stage.read(0, 1).points == [WALK_TABLE, WALK_TABLE, WALK_LEAF, WALK_FILL]


def test_t1_a_walk_starts_at_the_lowest_cached_table() -> None:
    stage = stage_with()
    stage.read(0, 1)
    assert stage.read(0, 2).points[0] == WALK_LEAF


def test_t2_a_fill_sets_a_and_for_a_write_d() -> None:
    stage = stage_with()
    sp, index = stage.entry(1)
    sp.spt[index] &= ~(VMX_EPT_ACCESS_BIT | VMX_EPT_DIRTY_BIT)
    stage.read(0, 1)
    assert sp.spt[index] & (VMX_EPT_ACCESS_BIT | VMX_EPT_DIRTY_BIT) == VMX_EPT_ACCESS_BIT
    assert stage.cached(0, 1) & RWD == TLB_R | TLB_W
    stage.write(0, 1)
    assert sp.spt[index] & VMX_EPT_DIRTY_BIT
    assert stage.cached(0, 1) & RWD == RWD


def test_t2_without_a_d_bits_nothing_is_set() -> None:
    stage = stage_with(paging="ept-noad")
    before = stage.leaf(1)
    assert stage.write(0, 1).faults == []
    assert stage.leaf(1) == before
    assert stage.cached(0, 1) & RWD == RWD


@pytest.mark.parametrize("spte", [SHADOW_NONPRESENT_VALUE, SHADOW_NONPRESENT_VALUE | 0x5A0])
def test_t2_what_is_not_present_is_never_cached(spte: int) -> None:
    stage = stage_with()
    sp, index = stage.entry(1)
    sp.spt[index] = spte
    stage.access(0, 1).to(FAULT_ENTER)
    assert stage.cached(0, 1) == 0
    assert not stage.m.x86_vcpus[0].fault_present


def test_t3_a_write_on_a_clean_entry_goes_back_for_d() -> None:
    stage = stage_with()
    sp, index = stage.entry(1)
    sp.spt[index] &= ~VMX_EPT_DIRTY_BIT
    stage.read(0, 1)
    assert stage.write(0, 1).points == [WALK_DIRTY, WALK_LEAF, WALK_FILL]


def test_t3_and_faults_if_w_is_gone_by_then() -> None:
    stage = stage_with()
    sp, index = stage.entry(1)
    sp.spt[index] &= ~(VMX_EPT_DIRTY_BIT | PT_WRITABLE_MASK)
    stage.m.x86_vcpus[0].tlb.put(stage.m.tlb_key(1, 1), 1 << TLB_PFN_SHIFT | TLB_R | TLB_W)
    stage.access(0, 1, write=True).to(FAULT_ENTER)
    assert stage.m.x86_vcpus[0].fault_present


def test_t3_the_leaf_may_be_of_another_size_by_then() -> None:
    stage = stage_with(backing=("thp", "anon"))
    pfn = stage.m.host.pte[1]
    stage.m.x86_vcpus[0].tlb.put(stage.m.tlb_key(1, 1), pfn << TLB_PFN_SHIFT | TLB_R | TLB_W)
    points = stage.write(0, 1).points
    assert points.count(WALK_DIRTY) == 2
    assert points[-1] == WALK_FILL
    assert stage.cached(0, 1) == pfn << TLB_PFN_SHIFT | RWD


def test_t4_a_hit_never_looks_at_the_spte() -> None:
    stage = stage_with()
    stage.write(0, 1)
    sp, index = stage.entry(1)
    sp.spt[index] = SHADOW_NONPRESENT_VALUE
    assert stage.write(0, 1).points == []
    assert sp.spt[index] == SHADOW_NONPRESENT_VALUE


def test_t4_two_sizes_of_one_page_may_coexist_the_smaller_is_used() -> None:
    stage = stage_with()
    tlb = stage.m.x86_vcpus[0].tlb
    tlb.put(stage.m.tlb_key(1, 2), 8 << TLB_PFN_SHIFT | TLB_R)
    assert stage.cached(0, 1) >> TLB_PFN_SHIFT == 9
    tlb.put(stage.m.tlb_key(1, 1), 1 << TLB_PFN_SHIFT | RWD)
    assert stage.cached(0, 1) >> TLB_PFN_SHIFT == 1


def test_t5_a_write_on_a_read_only_entry_walks_again() -> None:
    stage = stage_with()
    stage.m.x86_vcpus[0].tlb.put(stage.m.tlb_key(1, 1), 1 << TLB_PFN_SHIFT | TLB_R)
    write = stage.write(0, 1)
    assert write.faults == []
    assert stage.cached(0, 1) & RWD == RWD


def test_t6_a_fault_drops_the_entries_for_its_address_only() -> None:
    stage = stage_with()
    stage.read(0, 2)
    reader = stage.access(0, 5).to(FAULT_ENTER)
    assert stage.cached(0, 2) != 0
    reader.finish()
    sp, index = stage.entry(2)
    sp.spt[index] &= ~PT_WRITABLE_MASK
    stage.m.x86_vcpus[0].tlb.put(stage.m.tlb_key(2, 1), 2 << TLB_PFN_SHIFT | TLB_R)
    stage.access(0, 2, write=True).to(FAULT_ENTER)
    assert stage.cached(0, 2) == 0


def test_t7_a_flush_empties_every_vcpu_and_voids_walks() -> None:
    stage = stage_with()
    stage.read(1, 1)
    walker = stage.access(0, 1).to(WALK_LEAF)
    stage.m.flush_all()
    assert all(vcpu.tlb.items() == vcpu.structure_cache.items() == [] for vcpu in stage.m.x86_vcpus)
    walker.step()
    assert walker.points[-1] == WALK_TABLE  # from the root again
    assert walker.finish().faults == []


def test_t8_changing_an_spte_leaves_entries_alone() -> None:
    stage = stage_with()
    stage.read(0, 1)
    entry = stage.cached(0, 1)
    sp, index = stage.entry(1)
    sp.spt[index] = SHADOW_NONPRESENT_VALUE
    sp.freed = True
    assert stage.cached(0, 1) == entry


# --- where it is kept ------------------------------------------------------------------------------------------

KEYS = st.integers(0, 12)
CHANGES = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(0, 2**50)),
    st.tuples(st.just("drop"), KEYS, st.just(0)),
    st.tuples(st.just("clear"), st.just(0), st.just(0)),
)


@given(st.lists(CHANGES, max_size=60))
def test_entries_are_those_of_a_dict(changes: list[tuple[str, int, int]]) -> None:
    """One value for each key, the last one that was put, until it is dropped."""
    entries = TlbEntries()
    expected: dict[int, int] = {}
    for change, key, value in changes:
        if change == "put":
            entries.put(key, value)
            expected[key] = value
        elif change == "drop":
            entries.drop(key)
            expected.pop(key, None)
        else:
            entries.clear()
            expected.clear()
        assert entries.n == len(expected)
        assert len(entries.items()) == len(expected)
        assert dict(entries.items()) == expected
        for asked in range(14):
            assert entries.get(asked) == expected.get(asked, -1)
            place = int(entries.find(asked))
            assert (place >= 0) == (asked in expected)
            assert place < 0 or (entries.keys[place], entries.values[place]) == (asked, expected[asked])


def test_more_entries_than_were_ever_there_find_room() -> None:
    entries = TlbEntries()
    for key in range(100):
        entries.put(key, key * key)
    assert entries.items() == [(key, key * key) for key in range(100)]
    entries.clear()
    assert entries.items() == []
    entries.put(200, 1)
    assert entries.items() == [(200, 1)]
    assert entries.get(0) == -1
