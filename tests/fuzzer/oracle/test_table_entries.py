# SPDX-License-Identifier: GPL-2.0-only
"""The form of SPTEs, and who may change a FROZEN one."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot
from reference_mmu.x86.spte import (
    FROZEN_SPTE,
    PAGE_SHIFT,
    PT_WRITABLE_MASK,
    SHADOW_NONPRESENT_VALUE,
    VMX_EPT_RWX_MASK,
    make_nonleaf_spte,
)
from tests.by_hand import IOCTL, MM, Stage
from tests.parameters import BOTH, EVERY_MMU, EVERY_PAGING

HUGE = 2


def linked(stage: Stage, held: int = SHADOW_NONPRESENT_VALUE) -> None:
    """Link a table whose last entry is `held` where nothing is mapped."""
    table = stage.m.alloc_table(1, 4, stage.root())
    table.tdp_mmu_page = True
    table.spt[3] = held
    stage.store(4, make_nonleaf_spte(stage.m.masks, table, False), level=2)


def frozen() -> Stage:
    """The ioctl has made the entry of gfn 1 FROZEN."""
    stage = Stage()
    stage.write(0, 1)
    stage.m.actor = IOCTL
    stage.store(1, FROZEN_SPTE)
    return stage


# --- accepts ---------------------------------------------------------------------------------------------------


@BOTH
@EVERY_PAGING
@EVERY_MMU
def test_accepts_faults_splits_and_a_slot_that_goes(mmu: str, paging: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, paging=paging, backing=("thp", "anon"))
    stage.write(0, 1)
    assert stage.level(1) == HUGE
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    stage.write(1, 2)
    assert stage.level(2) == 1
    stage.write(0, 5)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [0, 0x1234, 1 << PAGE_SHIFT, VMX_EPT_RWX_MASK, FROZEN_SPTE])
def test_rejects_a_table_with_something_in_it(held: int) -> None:
    """A CPU knows nothing of KVM's own present bit, and entries that are all zero would let #VE happen."""
    stage = Stage()
    stage.read(0, 1)
    linked(stage, held)
    assert stage.violations == ["illegal-spte"]


def test_rejects_an_upper_entry_that_forbids_something() -> None:
    stage = Stage()
    stage.read(0, 1)
    table, index = stage.entry(1, level=HUGE)
    stage.store(1, table.spt[index] & ~PT_WRITABLE_MASK, level=HUGE)
    assert "illegal-spte" in stage.violations


@pytest.mark.parametrize("change", [1 << PAGE_SHIFT, "writable", "missing"])
def test_rejects_a_split_into_something_else(change: int | str) -> None:
    stage = Stage(backing=("thp", "anon"))
    stage.read(0, 1)
    huge = stage.leaf(1) & ~PT_WRITABLE_MASK
    stage.store(1, huge, level=HUGE)
    assert stage.violations == []
    table = stage.m.alloc_table(1, 0, stage.root())
    table.tdp_mmu_page = True
    for index in range(4):
        table.spt[index] = (huge & ~0x80) + (index << PAGE_SHIFT)
    if isinstance(change, int):
        table.spt[2] += change
    elif change == "writable":
        table.spt[2] |= PT_WRITABLE_MASK
    else:
        table.spt[2] = SHADOW_NONPRESENT_VALUE
    stage.store(1, make_nonleaf_spte(stage.m.masks, table, False), level=HUGE)
    assert stage.violations == ["illegal-spte"]


def test_rejects_an_entry_that_is_neither_present_nor_empty() -> None:
    stage = Stage()
    stage.read(0, 1)
    stage.store(5, 0x400)
    assert "illegal-spte" in stage.violations


@pytest.mark.reaches("frozen-store")
def test_rejects_a_store_to_what_somebody_else_has_frozen() -> None:
    stage = frozen()
    stage.m.actor = MM
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    assert stage.violations == ["frozen-store"]


def test_rejects_a_store_to_a_frozen_entry_of_a_table_that_was_torn_down() -> None:
    stage = frozen()
    stage.entry(1)[0].unlinked = True
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    assert stage.violations == ["frozen-store"]


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_whoever_froze_an_entry_may_store_the_next_value() -> None:
    stage = frozen()
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    stage.store(1, FROZEN_SPTE)
    assert stage.violations == []


def test_legal_a_split_that_takes_rights_away() -> None:
    """Odd: dirty logging write-protects the pieces only afterwards, one by one."""
    stage = Stage(NEW, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0),))
    stage.write(0, 1)
    huge = stage.leaf(1)
    table = stage.m.alloc_table(1, 0, stage.root())
    table.tdp_mmu_page = True
    for index in range(4):
        table.spt[index] = ((huge & ~0x80) + (index << PAGE_SHIFT)) & ~PT_WRITABLE_MASK
    stage.store(1, make_nonleaf_spte(stage.m.masks, table, False), level=HUGE)
    assert stage.violations == []
