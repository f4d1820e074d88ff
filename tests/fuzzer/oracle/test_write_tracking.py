# SPDX-License-Identifier: GPL-2.0-only
"""Mappings of gfns that are write-tracked."""

from reference_mmu.x86.points import FPF_READ, TRACK_PROTECT
from reference_mmu.x86.spte import PT_WRITABLE_MASK, SHADOW_NONPRESENT_VALUE
from reference_mmu.x86.write_protect import kvm_write_track_add_gfn
from tests.by_hand import DEVICE, Stage
from tests.parameters import EVERY_MMU


@EVERY_MMU
def test_accepts_a_page_that_is_tracked_and_read(mmu: str) -> None:
    stage = Stage(mmu=mmu, backing=("thp", "anon"))
    stage.write(0, 1)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    stage.read(1, 1)
    stage.write(1, 2)
    stage.write(0, 1)
    assert stage.final_violations() == []


@EVERY_MMU
def test_rejects_a_leaf_that_may_be_made_writable(mmu: str) -> None:
    """No TLB has it yet."""
    stage = Stage(mmu=mmu)
    stage.write(0, 1)
    leaf = stage.leaf(1)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    assert stage.violations == []
    stage.store(1, leaf & ~PT_WRITABLE_MASK)
    assert stage.violations == ["writable-after-tracking"]


def test_rejects_a_huge_leaf() -> None:
    stage = Stage(backing=("thp", "anon"))
    stage.read(0, 2)
    huge = stage.leaf(2)
    stage.run(DEVICE, kvm_write_track_add_gfn(stage.m, 1))
    stage.store(2, SHADOW_NONPRESENT_VALUE, level=2)
    assert stage.violations == []
    stage.store(2, huge & ~(PT_WRITABLE_MASK | stage.m.masks.shadow_mmu_writable_mask), level=2)
    assert stage.violations == ["writable-after-tracking"]


def test_legal_w_given_back_before_the_protection_has_come_to_it() -> None:
    """fast_page_fault() takes no lock, and the flush that follows the protection is for that, too."""
    stage = Stage()
    stage.write(0, 1)
    table, index = stage.entry(1)
    table.spt[index] &= ~PT_WRITABLE_MASK
    stage.m.flush_all()
    writer = stage.access(0, 1, write=True).to(FPF_READ)
    track = stage.thread(DEVICE, kvm_write_track_add_gfn(stage.m, 1)).to(TRACK_PROTECT)
    writer.step()
    assert table.spt[index] & PT_WRITABLE_MASK
    track.finish()
    assert stage.violations == []
