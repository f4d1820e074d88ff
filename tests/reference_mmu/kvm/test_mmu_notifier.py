# SPDX-License-Identifier: GPL-2.0-only
"""mmu_notifier invalidation: the sequence counter, the range in progress, one lock and one flush."""

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.memslots import memslots_in_hva_range
from reference_mmu.kvm.mmu_notifier import (
    kvm_mmu_notifier_invalidate_range_end,
    kvm_mmu_notifier_invalidate_range_start,
    mmu_invalidate_retry_gfn,
)
from reference_mmu.points import INV_ACTIVE, INV_LOCK, INV_PRIMARY
from tests.by_hand import DEVICE, MM, Stage
from tests.parameters import BOTH

TWO = (SlotConfig(0, 4, 0), SlotConfig(8, 4, 4))


def start(stage: Stage, first: int, end: int, actor: int = MM) -> None:
    stage.run(actor, kvm_mmu_notifier_invalidate_range_start(stage.m, first, end))


def end(stage: Stage, first: int, last: int, actor: int = MM) -> None:
    stage.run(actor, kvm_mmu_notifier_invalidate_range_end(stage.m, first, last))


def test_in_progress_the_range_is_stale_afterwards_the_snapshot() -> None:
    stage = Stage()
    before = int(stage.m.mmu_invalidate_seq)
    start(stage, 1, 3)
    assert [gfn for gfn in range(8) if mmu_invalidate_retry_gfn(stage.m, before, gfn)] == [1, 2]
    end(stage, 1, 3)
    assert all(mmu_invalidate_retry_gfn(stage.m, before, gfn) for gfn in range(8))
    assert not any(mmu_invalidate_retry_gfn(stage.m, before + 1, gfn) for gfn in range(8))


def test_concurrent_ranges_share_their_hull() -> None:
    stage = Stage()
    seq = int(stage.m.mmu_invalidate_seq)
    start(stage, 1, 2)
    start(stage, 5, 6, actor=DEVICE)
    assert [gfn for gfn in range(8) if mmu_invalidate_retry_gfn(stage.m, seq, gfn)] == [1, 2, 3, 4, 5]
    end(stage, 1, 2)
    end(stage, 5, 6, actor=DEVICE)
    assert stage.m.mmu_invalidate_in_progress == 0
    assert stage.m.mn_active_invalidate_count == 0


def test_gfns_are_those_of_the_slots_the_range_touches() -> None:
    stage = Stage(slots=TWO)
    assert [(int(r.slot.number), r.start, r.end) for r in memslots_in_hva_range(stage.m.memslots, 2, 6)] == [
        (0, 2, 4),
        (1, 8, 10),
    ]
    assert memslots_in_hva_range(stage.m.memslots, 4, 4) == []


@BOTH
def test_two_slots_cost_one_lock_and_one_flush(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=TWO)
    stage.write(0, 1)
    stage.write(0, 9)
    invalidation = stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 0, 8))
    assert invalidation.points.count(INV_LOCK) == 1
    assert invalidation.flushes == 1
    assert [stage.level(gfn) for gfn in (1, 9)] == [0, 0]


@BOTH
def test_what_no_slot_uses_takes_no_lock(semantics: Semantics) -> None:
    stage = Stage(semantics, slots=(SlotConfig(0, 4, 0),))
    seq = int(stage.m.mmu_invalidate_seq)
    invalidation = stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 4, 8))
    assert invalidation.points == [INV_ACTIVE, INV_PRIMARY]
    end(stage, 4, 8)
    assert stage.m.mmu_invalidate_seq == seq


@BOTH
def test_what_is_not_mapped_needs_no_flush(semantics: Semantics) -> None:
    stage = Stage(semantics)
    assert stage.run(MM, kvm_mmu_notifier_invalidate_range_start(stage.m, 0, 8)).flushes == 0
