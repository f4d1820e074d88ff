# SPDX-License-Identifier: GPL-2.0-only
"""Page tables that are unlinked and freed: who may still point to them, and what may be left in those that stay."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.x86.points import (
    BACK_ZAP,
    COLLAPSE_FLUSH,
    COLLAPSE_FROZEN,
    COLLAPSE_ZAP,
    FPF_READ,
    FPF_STEP,
    MAP_LINK,
    WALK_LEAF,
)
from reference_mmu.x86.roots import kvm_mmu_free_roots
from reference_mmu.x86.spte import (
    FROZEN_SPTE,
    PAGE_SHIFT,
    PG_LEVEL_4K,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    VMX_EPT_RWX_MASK,
    is_frozen_spte,
)
from reference_mmu.x86.tdp_mmu.tdp_iter import TdpIter
from tests.by_hand import IOCTL, Stage, is_freed
from tests.deaf import Deaf
from tests.parameters import BOTH


def collapsible(semantics: Semantics) -> Stage:
    """A huge page mapped by 4K entries, used by both vCPUs, in a slot that logs."""
    stage = Stage(semantics, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.write(0, 1)
    stage.write(1, 2)
    assert stage.level(1) == 1
    return stage


def in_the_lowest_table() -> tuple[Stage, TdpIter]:
    """An iterator that has reached it."""
    stage = Stage()
    stage.write(0, 1)
    it = TdpIter(stage.m, stage.root(), PG_LEVEL_4K, 0, 8)
    while it.level > PG_LEVEL_4K:
        assert it.more()
    return stage, it


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
def test_accepts_a_table_freed_after_the_flush(semantics: Semantics) -> None:
    stage = collapsible(semantics)
    table, _ = stage.entry(1)
    assert table in stage.cached_tables(0)
    stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    assert table.freed
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@BOTH
def test_rejects_the_end_of_rcu_while_a_structure_cache_points_to_the_table(semantics: Semantics) -> None:
    stage = collapsible(semantics)
    stage.m.x86_vcpus[1].structure_cache = Deaf(stage.m.x86_vcpus[1].structure_cache)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0))
    collapse.to(COLLAPSE_FLUSH if semantics == NEW else COLLAPSE_FROZEN)
    assert stage.violations == []
    collapse.finish()
    assert stage.violations == ["freed-table-reference"]


@pytest.mark.reaches("freed-table-reference", "freed-table-walk")
def test_rejects_a_walk_through_a_freed_table() -> None:
    stage = collapsible(NEW)
    stage.m.x86_vcpus[1].structure_cache = Deaf(stage.m.x86_vcpus[1].structure_cache)
    stage.run(IOCTL, disable_dirty_log(stage.m, 0))
    stage.access(1, 3).to(WALK_LEAF).step()
    assert stage.violations == ["freed-table-reference", "freed-table-walk"]


def test_rejects_a_lockless_walk_through_a_freed_table() -> None:
    stage = Stage()
    stage.write(0, 1)
    table, index = stage.entry(1)
    table.spt[index] &= ~PT_WRITABLE_MASK
    writer = stage.access(1, 1, write=True).to(FPF_STEP).to(FPF_STEP)
    table.freed = True
    assert stage.violations == []
    writer.step()
    assert stage.violations == ["freed-table-walk"]


def test_rejects_a_table_that_nothing_leads_to() -> None:
    """Its entry is overwritten, and nobody tears it down."""
    stage = Stage()
    stage.write(0, 1)
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    stage.store(1, SHADOW_NONPRESENT_VALUE, level=2)
    stage.m.flush_all()
    assert stage.violations == []
    assert stage.final_violations() == ["table-leak"]


def test_accepts_a_table_that_lost_the_race_for_its_entry() -> None:
    stage = Stage()
    first, second = (stage.access(vcpu, 1).to(MAP_LINK) for vcpu in (0, 1))
    first.finish()
    second.finish()
    assert any(is_freed(table) for table in stage.m.page_tables)
    assert stage.final_violations() == []


def test_rejects_an_iterator_that_goes_on_in_a_freed_table() -> None:
    """As one does that does not restart at the root when it had to drop RCU."""
    stage, it = in_the_lowest_table()
    it.sp.freed = True
    assert stage.violations == []
    assert it.more()
    assert stage.violations == ["freed-table-walk"]


def test_legal_an_iterator_whose_table_is_freed_while_it_yields() -> None:
    stage, it = in_the_lowest_table()
    stage.store(0, SHADOW_NONPRESENT_VALUE, level=2)
    it.sp.freed = it.yielded = True
    assert it.more()
    assert it.level == stage.root().level
    while it.more():
        pass
    assert stage.violations == []


@pytest.mark.reaches("illegal-spte")
def test_rejects_a_frozen_entry_left_behind() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.store_and_unlock(1, FROZEN_SPTE, flush=True)
    assert stage.violations == []
    assert stage.final_violations() == ["illegal-spte"]


@pytest.mark.reaches("table-leak")
def test_rejects_a_table_freed_with_what_it_maps() -> None:
    stage = Stage()
    stage.write(0, 1)
    table, _ = stage.entry(1)
    stage.m.free_table(table)
    assert stage.violations == ["freed-table-reference", "table-leak"]


def test_rejects_a_link_to_a_freed_table() -> None:
    stage = Stage()
    stage.write(0, 1)
    table, _ = stage.entry(1)
    table.freed = True
    assert stage.final_violations() == ["illegal-spte"]


def test_rejects_a_leaf_that_maps_another_page_at_the_end() -> None:
    stage = Stage()
    stage.write(0, 1)
    sp, index = stage.entry(1)
    sp.spt[index] += 1 << PAGE_SHIFT
    assert stage.final_violations() == ["illegal-spte"]


@pytest.mark.reaches("early-free")
def test_rejects_a_table_freed_under_a_walker_without_locks() -> None:
    """Nobody's structure cache points to it, and the walker may be done with it: RCU has to wait all the same."""
    stage = collapsible(NEW)
    table, _ = stage.entry(1)
    stage.m.rcu.lock(0)
    stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FLUSH)
    assert table.unlinked
    stage.m.flush_all()
    stage.m.free_table(table)
    assert "early-free" in stage.violations
    stage.m.rcu.unlock(0)


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_new_frees_after_unlinking_before_the_flush_because_rcu_waits() -> None:
    """NEW tears the table down first and flushes afterwards, both inside one RCU section."""
    stage = collapsible(NEW)
    table, _ = stage.entry(1)
    stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FLUSH)
    assert table.unlinked
    assert not table.freed
    assert is_frozen_spte(table.spt[1])
    stage.read(1, 2)  # through its stale TLB entry
    assert stage.violations == []


def test_legal_references_of_a_root_that_cannot_be_entered() -> None:
    stage = Stage()
    stage.write(0, 1)
    table, _ = stage.entry(1)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert table.freed
    assert table in stage.cached_tables(0)
    assert stage.violations == []


def test_legal_frozen_entries_in_an_unlinked_table() -> None:
    stage = Stage()
    stage.write(0, 1)
    deletion = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(BACK_ZAP)
    deletion.finish()
    kvm_mmu_free_roots(stage.m, stage.m.x86_vcpus[0])
    assert stage.final_violations() == []


def test_legal_a_lockless_walker_inside_an_unlinked_table() -> None:
    stage = Stage(NEW, paging="ept-noad", backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    stage.write(0, 1)
    sp, index = stage.entry(1)
    sp.spt[index] &= ~VMX_EPT_RWX_MASK  # as access tracking leaves it, so that the fault goes the fast way
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_ZAP)
    walker = stage.access(1, 1).to(FPF_READ)
    collapse.finish()
    assert sp.unlinked
    assert not is_freed(sp)
    walker.finish()
    assert is_freed(sp)
    assert stage.violations == []


def test_legal_an_empty_table_that_stays() -> None:
    stage = Stage()
    stage.write(0, 1)
    stage.store_and_unlock(1, SHADOW_NONPRESENT_VALUE, flush=True)
    assert stage.final_violations() == []


def test_legal_a_table_freed_under_a_walker_that_came_after_it_was_unlinked() -> None:
    stage = collapsible(NEW)
    table, _ = stage.entry(1)
    collapse = stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_FLUSH)
    stage.m.rcu.lock(0)
    collapse.finish()
    assert is_freed(table)
    stage.m.rcu.unlock(0)
    assert stage.final_violations() == []
