# SPDX-License-Identifier: GPL-2.0-only
"""Pages of a guest_memfd: by index, until a hole is punched, whoever asks for one or has one at the moment."""

from typing import Any

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import Config, ConfigError, SlotConfig
from reference_mmu.kvm.dirty_log import enable_dirty_log
from reference_mmu.kvm.gmem import KvmGmem
from reference_mmu.kvm.guest_memfd import (
    GmemPage,
    kvm_gmem_get_index,
    kvm_gmem_get_pfn,
    kvm_gmem_memory_failure,
    kvm_gmem_populate,
    kvm_gmem_punch_hole,
)
from reference_mmu.kvm.memslot_update import kvm_create_memslot, kvm_delete_memslot, kvm_move_memslot
from reference_mmu.kvm.pfn import NO_PAGE
from reference_mmu.mm.errno import EEXIST, EFAULT, EHWPOISON, EINVAL, EIO, ENOMEM
from reference_mmu.mm.page import Page
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.points import (
    ATTRIBUTES,
    GMEM_BIND,
    GMEM_END,
    GMEM_ERROR,
    GMEM_HOLE,
    GMEM_PREPARE,
    GMEM_START,
    GMEM_TRUNCATE,
    MM_WAIT,
)
from tests.by_hand import IOCTL, MM, Stage, Thread

OLD_AND_NEW = pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])
SLOTS = (SlotConfig(base=1, npages=3, hva=0, gmem=2), SlotConfig(base=8, npages=4, hva=4, gmem=5))
"""gfns 1 to 3 are pages 2 to 4 of the file, gfns 8 to 11 pages 5 to 8."""


def gmem_stage(semantics: Semantics = NEW, **config: Any) -> Stage:
    return Stage(semantics, **{"slots": SLOTS, **config})


def file_of(stage: Stage) -> KvmGmem:
    assert stage.m.gmem is not None
    return stage.m.gmem


def get(stage: Stage, gfn: int, out: GmemPage, actor: int = 0) -> Thread:
    """kvm_gmem_get_pfn() as a vCPU calls it."""
    (slot,) = [slot for slot in stage.m.memslots if slot.contains(gfn)]
    return stage.thread(actor, kvm_gmem_get_pfn(stage.m, slot, gfn, out))


def got(stage: Stage, gfn: int) -> tuple[int, GmemPage]:
    out = GmemPage()
    return int(get(stage, gfn, out).finish().result), out


def page_at(stage: Stage, index: int) -> Page | None:
    """The page of the file at an index."""
    pfn = stage.m.host.pte[file_of(stage).first + index]
    return stage.m.host.pages[pfn] if pfn >= 0 else None


def punch(stage: Stage, start: int, npages: int) -> Thread:
    return stage.thread(MM, kvm_gmem_punch_hole(stage.m, start, npages))


def error(stage: Stage, index: int) -> Thread:
    return stage.thread(MM, kvm_gmem_memory_failure(stage.m, index))


# Accept.


@OLD_AND_NEW
def test_a_gfn_is_the_page_of_the_file_that_its_slot_says(semantics: Semantics) -> None:
    stage = gmem_stage(semantics)
    for gfn, index in ((1, 2), (3, 4), (8, 5), (11, 8)):
        r, out = got(stage, gfn)
        assert r == 0
        assert stage.m.host.pages[out.pfn] is page_at(stage, index)
        assert [int(kvm_gmem_get_index(slot, gfn)) for slot in stage.m.memslots if slot.contains(gfn)] == [index]
        assert out.page == (out.pfn if semantics == NEW else NO_PAGE)
    assert page_at(stage, 3) is None


@OLD_AND_NEW
def test_a_page_is_allocated_once_and_held_by_whoever_has_asked(semantics: Semantics) -> None:
    stage = gmem_stage(semantics)
    first, second = got(stage, 1)[1], got(stage, 1)[1]
    assert first.pfn == second.pfn
    page = stage.m.host.pages[first.pfn]
    assert (page.refcount, page.kvm_refs, page.locked_by, page.data) == (3, 2, -1, 0)
    stage.m.kvm_put_page(first.pfn)
    stage.m.kvm_put_page(first.pfn)
    assert (page.refcount, page.freed) == (1, False)
    assert stage.final_violations() == []


def test_who_finds_the_page_locked_waits() -> None:
    stage = gmem_stage()
    first, second = GmemPage(), GmemPage()
    preparing = get(stage, 1, first).to(GMEM_PREPARE)
    waiting = get(stage, 1, second, actor=1).to(MM_WAIT)
    assert not waiting.can_run()
    preparing.finish()
    assert waiting.finish().result == 0
    assert first.pfn == second.pfn


@OLD_AND_NEW
def test_populating_ends_at_the_first_page_in_use(semantics: Semantics) -> None:
    stage = gmem_stage(semantics)
    stage.m.kvm_put_page(got(stage, 10)[1].pfn)
    results = []
    for first, npages in ((8, 9), (10, 1), (11, 9), (1, 2)):
        stage.m.slots_lock = True
        results.append(stage.run(IOCTL, kvm_gmem_populate(stage.m, first, npages, 7)).result)
        stage.m.slots_lock = False
    assert results == [2, -EEXIST, 1, 2]
    assert [page.data if (page := page_at(stage, index)) else -1 for index in range(9)] == [
        -1,
        -1,
        7,
        7,
        -1,
        7,
        7,
        0,
        7,
    ]
    assert all(page.kvm_refs == 0 for page in stage.m.host.pages)


@OLD_AND_NEW
def test_a_hole_is_zeroes_the_next_time(semantics: Semantics) -> None:
    stage = gmem_stage(semantics)
    stage.write(0, 2)
    stage.write(0, 3)
    old = page_at(stage, 3)
    hole = punch(stage, 3, 1).finish()
    assert page_at(stage, 3) is None
    assert old is not None
    assert old.freed
    assert stage.leaf(2) == 0
    assert stage.leaf(3) != 0
    assert hole.flushes == 1
    assert stage.read(0, 2).events()[-1] & 0xFF == 0
    assert stage.final_violations() == (["late-page-mark"] if semantics == OLD else [])


# Reject: what is in the way, and nothing is kept.


@OLD_AND_NEW
@pytest.mark.parametrize(
    ("error", "why"),
    [(EFAULT, "closed"), (EIO, "unbound"), (EHWPOISON, "poisoned"), (ENOMEM, "no memory"), (EIO, "unprepared")],
)
def test_an_error_leaves_no_reference_and_names_no_page(semantics: Semantics, error: int, why: str) -> None:
    stage = gmem_stage(semantics)
    gmem = file_of(stage)
    gmem.closed = why == "closed"
    if why == "unbound":
        gmem.bindings.clear()
    if why == "poisoned":
        out = got(stage, 1)[1]
        gmem.poisoned[int(out.pfn)] = True
        stage.m.kvm_put_page(out.pfn)
    if why == "no memory":
        stage.m.mishaps = MISHAP_NO_MEMORY
    gmem.prepare_error = EIO if why == "unprepared" else 0
    r, out = got(stage, 1)
    assert (r, out.page) == (-error, NO_PAGE)
    assert all(page.kvm_refs == 0 and page.locked_by < 0 for page in stage.m.host.pages)
    assert stage.final_violations() == []


def test_a_page_with_an_error_is_mapped_by_nobody_and_stays_until_there_is_a_hole() -> None:
    stage = gmem_stage()
    stage.write(0, 1)
    page = page_at(stage, 2)
    assert page is not None
    error(stage, 2).finish()
    assert stage.cached(0, 1) == 0
    stage.read(0, 1)
    assert stage.cached(0, 1) == 0
    assert page_at(stage, 2) is page
    punch(stage, 2, 1).finish()
    assert (page.refcount, page.freed) == (1, False)
    stage.read(0, 1)
    assert stage.cached(0, 1) != 0
    assert stage.final_violations() == []


def test_an_error_where_there_is_no_page_or_of_a_page_that_has_one_does_nothing() -> None:
    stage = gmem_stage()
    assert error(stage, 2).finish().events() == []
    stage.m.kvm_put_page(got(stage, 1)[1].pfn)
    for _ in range(2):
        error(stage, 2).finish()
    page = page_at(stage, 2)
    assert page is not None
    assert page.refcount == 2
    assert stage.final_violations() == []


def test_an_error_and_a_hole_wait_for_each_other_for_ever() -> None:
    """As in the kernel: one has the folio and waits for the lock of the file, the other has that."""
    stage = gmem_stage()
    stage.write(0, 1)
    failing = error(stage, 2).to(GMEM_ERROR)
    hole = stage.thread(IOCTL, kvm_gmem_punch_hole(stage.m, 2, 1)).to(MM_WAIT)
    assert not failing.can_run()
    assert not hole.can_run()


@pytest.mark.reaches("warn")
def test_a_page_that_another_memslot_has_is_told_about() -> None:
    stage = gmem_stage()
    file_of(stage).bindings[2] = stage.m.memslots[1]
    assert got(stage, 1)[0] == -EIO
    assert stage.violations == ["warn"]


@pytest.mark.parametrize(("gfn", "error"), [(0, EINVAL), (20, EINVAL), (1, EFAULT)])
def test_what_cannot_be_populated(gfn: int, error: int) -> None:
    """No memslot, one without a guest_memfd, a file that is closed."""
    stage = gmem_stage(slots=(*SLOTS, SlotConfig(base=20, npages=2, hva=8)), backing=("anon",) * 3)
    file_of(stage).closed = gfn == 1
    stage.m.slots_lock = True
    assert stage.run(IOCTL, kvm_gmem_populate(stage.m, gfn, 1, 7)).result == -error


def test_what_is_shared_is_not_populated() -> None:
    stage = gmem_stage()
    del stage.m.mem_attr_array[2]
    stage.m.slots_lock = True
    assert stage.run(IOCTL, kvm_gmem_populate(stage.m, 1, 3, 7)).result == 1
    assert stage.run(IOCTL, kvm_gmem_populate(stage.m, 2, 1, 7)).result == -EINVAL
    assert all(page.kvm_refs == 0 for page in stage.m.host.pages)


# Legal, though odd.


@OLD_AND_NEW
def test_a_page_outlives_the_hole_as_long_as_somebody_holds_it(semantics: Semantics) -> None:
    stage = gmem_stage(semantics)
    out = got(stage, 1)[1]
    page = stage.m.host.pages[out.pfn]
    punch(stage, 0, 9).finish()
    assert not page.freed
    assert got(stage, 1)[1].pfn != out.pfn
    stage.m.kvm_put_page(out.pfn)
    assert page.refcount == 0


def test_a_hole_waits_for_a_page_that_is_being_prepared_and_takes_it_then() -> None:
    stage = gmem_stage()
    out = GmemPage()
    preparing = get(stage, 1, out).to(GMEM_PREPARE)
    hole = punch(stage, 2, 1).to(MM_WAIT)
    assert not hole.can_run()
    preparing.finish()
    hole.finish()
    assert page_at(stage, 2) is None
    assert stage.m.mmu_invalidate_in_progress == 0


def test_a_hole_where_no_memslot_is_bound_invalidates_nothing() -> None:
    stage = gmem_stage()
    seq = stage.m.mmu_invalidate_seq
    punch(stage, 0, 2).finish()
    assert stage.m.mmu_invalidate_seq == seq
    punch(stage, 8, 99).finish()
    assert stage.m.mmu_invalidate_seq == seq + 1


def test_a_hole_over_two_memslots_is_one_invalidation_of_both() -> None:
    stage = gmem_stage()
    stage.write(0, 3)
    stage.write(0, 8)
    stage.write(0, 9)
    hole = punch(stage, 4, 2).to(GMEM_TRUNCATE)
    assert (stage.m.mmu_invalidate_range_start, stage.m.mmu_invalidate_range_end) == (3, 9)
    assert [stage.leaf(gfn) != 0 for gfn in (3, 8, 9)] == [False, False, True]
    hole.finish()
    assert stage.final_violations() == []


def test_bindings_stay_while_a_hole_is_punched() -> None:
    stage = gmem_stage()
    hole = punch(stage, 2, 1).to(GMEM_TRUNCATE)
    other = punch(stage, 2, 1).to(GMEM_HOLE)
    deleting = stage.thread(IOCTL, kvm_delete_memslot(stage.m, 0)).to(GMEM_BIND)
    assert not deleting.can_run()
    assert not other.can_run()
    hole.finish()
    deleting.finish()
    other.finish()
    assert file_of(stage).bound(0, 9) == [slot for slot in stage.m.memslots if slot.number == 1]
    assert stage.final_violations() == []


def test_a_memslot_that_comes_back_finds_what_it_had() -> None:
    stage = gmem_stage()
    stage.write(0, 2)
    stage.run(IOCTL, kvm_delete_memslot(stage.m, 0))
    assert page_at(stage, 3) is not None
    stage.run(IOCTL, kvm_create_memslot(stage.m, 0))
    assert stage.read(1, 2).events()[-1] & 0xFF == 1
    assert stage.final_violations() == []


def test_a_memslot_with_a_guest_memfd_neither_moves_nor_logs() -> None:
    stage = gmem_stage()
    stage.run(IOCTL, kvm_move_memslot(stage.m, 0, 20))
    stage.run(IOCTL, enable_dirty_log(stage.m, 0))
    (slot,) = [slot for slot in stage.m.memslots if slot.number == 0]
    assert (slot.base_gfn, slot.log_dirty_pages) == (1, False)


@pytest.mark.parametrize(
    ("config", "rule"),
    [
        (Config(mmu="shadow", slots=SLOTS), "needs x86 and mmu=tdp"),
        (Config(arch="arm64", slots=SLOTS), "needs x86 and mmu=tdp"),
        (Config(slots=(SlotConfig(0, 8, 0, logging=True, gmem=0),)), "neither logs nor is read-only"),
        (Config(slots=(SlotConfig(0, 8, 0, readonly=True, gmem=0),)), "neither logs nor is read-only"),
        (Config(slots=(SlotConfig(0, 8, 0, gmem=-2),)), "no such page of a guest_memfd"),
        (Config(slots=(SlotConfig(0, 4, 0, gmem=0), SlotConfig(4, 4, 4, gmem=3))), "bound to the same pages"),
        (Config(slots=(SlotConfig(0, 8, 0, gmem=1 << 40),)), "pages of a guest_memfd"),
    ],
)
def test_a_guest_memfd_that_kvm_would_refuse(config: Config, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        config.check()


@pytest.mark.slow
def test_ranks_follow_the_source_and_programs_pass_every_point() -> None:
    """As in the mix; each point is in one program of thirty at least."""
    seen: set[int] = set()
    for seed in range(150):
        comparison = Comparison(NEW, parse_semantics("new+placebo-points"), "new" if seed % 2 else "old")
        outcome = comparison.run(generate(seed, PROFILES["gmem"]), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        assert outcome.violations("new") == {}
        seen.update(turn.point for turn in outcome.turns)
    assert {point.number for point in (*GMEM_START, *GMEM_END, *ATTRIBUTES)} <= seen
