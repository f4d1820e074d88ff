# SPDX-License-Identifier: GPL-2.0-only
"""Which shadow pages become unsync, and how their parents know."""

import pytest
from librt.vecs import vec
from mypy_extensions import i64

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import GuestPte
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.points import SHADOW_SET
from reference_mmu.x86.shadow_mmu.unsync import (
    clear_unsync_child_bit,
    kvm_unlink_unsync_page,
    mark_unsync,
    mmu_pages_clear_parents,
    mmu_try_to_unsync_pages,
    mmu_unsync_walk,
    valid_sps_with_gptes,
)
from tests.guest_tables import DATA, LEAF, LEAF_PAGE, ROOT, GuestStage, gpte
from tests.parameters import BOTH


@BOTH
def test_a_write_to_the_lowest_table_makes_its_page_unsync(semantics: Semantics) -> None:
    stage = GuestStage(semantics)
    stage.read(0, DATA)
    store = stage.storing(0, LEAF_PAGE, DATA, gpte(7)).to(SHADOW_SET)
    assert not stage.shadow_page(LEAF).unsync
    # The marks come before the SPTE that lets the guest write.
    while stage.rights(LEAF_PAGE) != "RWM":
        unsync, marked = stage.shadow_page(LEAF).unsync, stage.root().unsync_children
        store.step()
    assert (unsync, marked) == (True, 1)
    store.finish()
    assert stage.word(LEAF, DATA) == gpte(7)
    assert stage.violations == []


def test_once_unsync_the_guest_stores_without_an_exit() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.store_gpte(0, LEAF_PAGE, DATA, gpte(7))
    assert stage.store_gpte(0, LEAF_PAGE, DATA, gpte(6)).faults == []
    assert stage.read(0, DATA).faults == []
    assert stage.violations == []


@pytest.mark.parametrize(
    ("synchronizing", "prefetch", "unsync", "refused"),
    [
        (False, False, False, False),
        (False, True, False, True),
        (True, True, False, True),
        (False, True, True, False),
        (True, True, True, True),
    ],
)
def test_who_may_make_a_shadowed_table_writable(
    synchronizing: bool, prefetch: bool, unsync: bool, refused: bool
) -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    stage.shadow_page(LEAF).unsync = unsync
    assert mmu_try_to_unsync_pages(stage.m, LEAF, synchronizing, prefetch) == refused
    assert stage.shadow_page(LEAF).unsync == (unsync or not refused)


def test_tracked_and_upper_tables_never() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    assert mmu_try_to_unsync_pages(stage.m, ROOT, False, False)
    assert not stage.root().unsync


def test_all_pages_of_a_table_at_once() -> None:
    stage = GuestStage()
    stage.set_word(ROOT, 2, gpte(LEAF, writable=False))
    stage.read(0, DATA)
    stage.read(0, 8 + DATA)
    assert not mmu_try_to_unsync_pages(stage.m, LEAF, False, False)
    assert [sp.unsync for sp in valid_sps_with_gptes(stage.m, LEAF)] == [True, True]
    assert (stage.root().unsync_children, list(stage.root().unsync_child_bitmap)) == (2, [1, 0, 1, 0])


def three_levels() -> GuestStage:
    """CR3 at gfn 0, entries 0 and 1 at gfn 1, whose entry 0 is gfn 2, the lowest."""
    points = ((0, 0, 1), (0, 1, 1), (1, 0, 2), (2, 0, 4))
    ptes = tuple(GuestPte(table, index, gfn, accessed=True, dirty=True) for table, index, gfn in points)
    stage = GuestStage(ptes=ptes, levels=3)
    stage.read(0, 0)
    stage.read(0, 16)
    assert not mmu_try_to_unsync_pages(stage.m, 2, False, False)
    return stage


def test_marks_go_up_to_the_root_by_every_way() -> None:
    stage = three_levels()
    assert stage.shadow_page(1).unsync_children == 1
    assert (stage.root().unsync_children, list(stage.root().unsync_child_bitmap)) == (2, [1, 1, 0, 0])
    found = mmu_unsync_walk(stage.m, stage.root())
    assert [(sp, path) for sp, path in found] == [
        (stage.shadow_page(2), [(stage.root(), 0), (stage.shadow_page(1), 0)])
    ]


def test_a_cleared_mark_goes_up_as_far_as_it_was_the_last() -> None:
    stage = three_levels()
    ((sp, path),) = mmu_unsync_walk(stage.m, stage.root())
    kvm_unlink_unsync_page(stage.m, sp)
    mmu_pages_clear_parents(stage.m, path)
    assert stage.shadow_page(1).unsync_children == 0
    assert list(stage.root().unsync_child_bitmap) == [0, 1, 0, 0]
    # The other way is found to lead nowhere.
    assert mmu_unsync_walk(stage.m, stage.root()) == []
    assert stage.root().unsync_children == 0


@pytest.mark.reaches("warn")
def test_it_warns_of_marks_that_are_not_there() -> None:
    stage = GuestStage()
    stage.read(0, DATA)
    kvm_unlink_unsync_page(stage.m, stage.shadow_page(LEAF))
    assert stage.violations == ["warn"]
    clear_unsync_child_bit(stage.m, stage.root(), 0)
    assert stage.root().unsync_children == -1


def test_a_table_of_512_entries_has_a_mark_for_each() -> None:
    """An i64 would have 63."""
    stage = GuestStage()
    sp = KvmMmuPage(0, 2, 0, 512, 0)
    sp.unsync_child_bitmap = vec[i64]([0] * 512)
    for index in (0, 64, 511):
        mark_unsync(stage.m, sp, index)
        mark_unsync(stage.m, sp, index)
    assert (sp.unsync_children, sum(sp.unsync_child_bitmap)) == (3, 3)
    clear_unsync_child_bit(stage.m, sp, 64)
    assert (sp.unsync_children, sp.unsync_child_bitmap[0], sp.unsync_child_bitmap[64]) == (2, 1, 0)
    assert stage.violations == []
