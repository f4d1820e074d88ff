# SPDX-License-Identifier: GPL-2.0-only
"""A page table is unlinked and taken apart entry by entry: what others may do to those whose turn has not come."""

from reference_mmu.changelog.semantics import NEW
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, kvm_get_dirty_log_protect
from reference_mmu.observed import PF_FAST, PF_FIXED
from reference_mmu.points import FAULT_ENTER
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import COLLAPSE_ZAP, FPF_READ, REMOVED_CHILD, WALK_LEAF
from reference_mmu.x86.spte import VMX_EPT_DIRTY_BIT, is_frozen_spte, is_writable_pte
from tests.by_hand import IOCTL, Stage, Thread


def collapsing(**config: object) -> tuple[Stage, KvmMmuPage, Thread]:
    """Pages 1 and 3 of a huge page are mapped by a table that is about to be zapped."""
    stage = Stage(NEW, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),), **config)
    stage.write(0, 1)
    stage.write(1, 3)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    table, _ = stage.entry(1)
    return stage, table, stage.thread(IOCTL, disable_dirty_log(stage.m, 0)).to(COLLAPSE_ZAP)


def frozen(table: KvmMmuPage) -> list[bool]:
    return [is_frozen_spte(spte) for spte in table.spt]


def test_one_entry_after_the_other_is_frozen() -> None:
    _, table, collapse = collapsing()
    collapse.to(REMOVED_CHILD)
    assert table.unlinked
    assert frozen(table) == [True, False, False, False]
    collapse.to(REMOVED_CHILD)
    assert frozen(table) == [True, True, True, False]
    collapse.finish()
    assert frozen(table) == [True] * 4


def test_a_fast_fault_gives_w_back_to_an_entry_of_an_unlinked_table() -> None:
    """It found the leaf before; its compare-and-swap succeeds as long as the entry is not FROZEN. The guest repeats the
    access, and finds nothing there."""
    stage, table, collapse = collapsing(paging="ept-ad-nopml")
    fault = stage.access(1, 3, write=True).to(FPF_READ)
    collapse.to(REMOVED_CHILD)
    assert not is_writable_pte(table.spt[3])
    fault.to(FAULT_ENTER)
    assert is_writable_pte(table.spt[3])
    assert fault.faults == [PF_FAST]
    collapse.finish()
    fault.finish()
    assert fault.faults == [PF_FAST, PF_FIXED]
    assert stage.level(3) == 2
    assert stage.final_violations() == []


def test_a_walker_that_is_in_the_table_sets_d_there() -> None:
    stage, table, collapse = collapsing()
    walk = stage.access(1, 3, write=True).to(WALK_LEAF)
    collapse.to(REMOVED_CHILD)
    assert not table.spt[3] & VMX_EPT_DIRTY_BIT
    walk.step()
    assert table.spt[3] & VMX_EPT_DIRTY_BIT
    collapse.finish()
    walk.finish()
    assert stage.final_violations() == []
