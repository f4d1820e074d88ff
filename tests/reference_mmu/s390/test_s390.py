# SPDX-License-Identifier: GPL-2.0-only
"""A guest of s390 uses what its process has mapped, and what it writes is logged all the time."""

from types import ModuleType

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from reference_mmu.changelog.semantics import NEW, parse_semantics
from reference_mmu.config import Config, ConfigError, SlotConfig
from reference_mmu.kvm.dirty_log import disable_dirty_log, enable_dirty_log
from reference_mmu.kvm.memslot_update import kvm_delete_memslot, kvm_move_memslot
from reference_mmu.kvm.mmu_notifier import kvm_mmu_notifier_clear_young
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_W
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import EV_HARVEST, EV_READ, EV_SHIFT, PF_FIXED, PF_INJECTED
from reference_mmu.points import GUP_WAIT
from reference_mmu.s390 import points
from reference_mmu.s390.dirty_log import kvm_vm_ioctl_get_dirty_log
from tests.by_hand import IOCTL, MM
from tests.s390_by_hand import S390Stage


def test_what_the_process_has_mapped_needs_no_fault() -> None:
    s390 = S390Stage()
    assert s390.write(0, 1).faults == []
    assert s390.m.host.pages[s390.m.host.pte[1]].data == 1
    assert s390.m.host.flags[1] & HOST_D
    assert s390.final_violations() == []


@pytest.mark.parametrize("kind", ["untouched", "swapped", "cow", "pfnmap-nostruct", "file", "fsdax"])
def test_what_it_has_not_is_faulted_in_as_for_the_process(kind: str) -> None:
    s390 = S390Stage(backing=(kind, kind))
    s390.read(0, 1)
    assert s390.write(0, 1).faults in ([], [PF_FIXED])
    assert s390.m.host.flags[1] & HOST_W
    assert s390.final_violations() == []


def test_what_no_memslot_has_or_the_process_may_not_write_is_an_exception_of_the_guest() -> None:
    s390 = S390Stage(backing=("readonly", "anon"))
    assert s390.read(0, 9).faults == [PF_INJECTED]
    assert s390.read(0, 1).faults == []
    assert s390.write(0, 1).faults == [PF_INJECTED]


def test_a_page_that_migrates_is_seen_at_its_new_place() -> None:
    """Nobody has to flush: there is one entry, and it is the process's."""
    s390 = S390Stage()
    s390.write(0, 1)
    s390.run(MM, migrate_page(s390.m, 1))
    assert s390.read(1, 1).events() == [EV_READ << EV_SHIFT | 1]
    assert s390.final_violations() == []


def test_a_fault_waits_for_a_page_on_the_move() -> None:
    s390 = S390Stage()
    moving = s390.thread(MM, migrate_page(s390.m, 1))
    while s390.m.host.pte[1] >= 0:
        moving.step()
    waiting = s390.access(0, 1).to(GUP_WAIT)
    assert not waiting.can_run()
    moving.finish()
    waiting.finish()
    assert s390.final_violations() == []


def test_a_numa_hint_is_a_fault_but_of_what_is_mapped_by_pfn() -> None:
    s390 = S390Stage(backing=("anon", "pfnmap-refcounted"))
    s390.run(MM, change_protection_numa(s390.m, 0, 8))
    assert s390.m.host.flags[5] & HOST_PROTNONE
    assert s390.read(0, 1).faults == [PF_FIXED]
    assert s390.read(0, 5).faults == []


def test_a_store_after_a_fork_gets_a_copy() -> None:
    s390 = S390Stage()
    old = s390.m.host.pte[1]
    s390.run(MM, dup_mmap(s390.m))
    assert s390.write(0, 1).faults == [PF_FIXED]
    assert s390.m.host.pte[1] != old
    assert s390.final_violations() == []


def test_stores_are_logged_from_before_the_log_began() -> None:
    s390 = S390Stage()
    s390.write(0, 1)
    s390.run(IOCTL, enable_dirty_log(s390.m, 0))
    s390.write(0, 2)
    assert not s390.dirty(2)
    assert s390.m.logged_in_flight() == [1, 2]
    get = s390.run(IOCTL, kvm_vm_ioctl_get_dirty_log(s390.m, 0))
    assert get.kinds() == [EV_HARVEST]
    assert s390.m.logged_in_flight() == []
    s390.write(0, 3)
    assert s390.final_violations() == []
    assert [gfn for gfn in range(8) if s390.dirty(gfn)] == [3]


def test_a_store_while_the_bitmap_is_cleared_is_the_next_ones() -> None:
    s390 = S390Stage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    s390.write(0, 1)
    get = s390.thread(IOCTL, kvm_vm_ioctl_get_dirty_log(s390.m, 0)).to(points.GET_CLEAR)
    s390.write(0, 2)
    get.finish()
    assert s390.m.logged_in_flight() == [2]
    assert s390.final_violations() == []


def test_a_log_that_is_off_or_has_nothing_to_tell_tells_nothing() -> None:
    s390 = S390Stage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    assert s390.run(IOCTL, kvm_vm_ioctl_get_dirty_log(s390.m, 0)).events() == []
    s390.run(IOCTL, disable_dirty_log(s390.m, 0))
    s390.write(0, 1)
    assert s390.run(IOCTL, kvm_vm_ioctl_get_dirty_log(s390.m, 0)).events() == []
    assert not s390.m.slots_lock


@pytest.mark.reaches("lost-dirty-page")
def test_a_bit_that_nobody_brings_to_the_bitmap_is_missed() -> None:
    s390 = S390Stage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    s390.write(0, 2)
    s390.m.changed.clear()
    assert s390.final_violations() == ["lost-dirty-page"]


def test_the_bit_of_a_page_whose_memslot_moves_is_reported_where_it_is_then() -> None:
    s390 = S390Stage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    s390.write(0, 2)
    s390.run(IOCTL, kvm_move_memslot(s390.m, 0, 4))
    assert s390.m.logged_in_flight() == [6]
    assert s390.final_violations() == []
    assert s390.dirty(6)


def test_a_deleted_memslot_is_out_of_reach() -> None:
    s390 = S390Stage()
    s390.run(IOCTL, kvm_delete_memslot(s390.m, 0))
    assert s390.read(0, 1).faults == [PF_INJECTED]


def test_nobody_knows_what_is_young() -> None:
    s390 = S390Stage()
    s390.read(0, 1)
    s390.run(MM, kvm_mmu_notifier_clear_young(s390.m, 0, 8))
    assert s390.final_violations() == []


def test_the_log_is_not_cleared_by_hand() -> None:
    with pytest.raises(ConfigError, match="no manual dirty-log protection"):
        Config(arch="s390", manual_protect=True).check()


def test_no_memslot_is_read_only() -> None:
    with pytest.raises(ConfigError, match="s390 has no read-only slots"):
        Config(arch="s390", slots=(SlotConfig(base=0, npages=8, hva=0, readonly=True),)).check()


def test_every_point_has_a_row_and_is_named_as_its_constant() -> None:
    module: ModuleType = points
    own = {name: number for name, number in vars(module).items() if name.isupper() and isinstance(number, int)}
    assert {points.POINTS.numbers[name.lower().replace("_", ".", 1)] for name in own} == set(own.values())


@pytest.mark.slow
def test_programs_pass_every_point_and_find_what_s390_breaks() -> None:
    """All kernels break the same; of what may be broken, all but the unpinned map takes a rare interleaving."""
    seen: set[int] = set()
    broken: set[str] = set()
    for seed in range(200):
        comparison = Comparison(NEW, parse_semantics("new+placebo-points"), "new" if seed % 2 else "old")
        outcome = comparison.run(generate(seed, PROFILES["s390"]), by_scheduler("random-walk", seed))
        assert outcome.divergences == []
        broken.update(outcome.violations("new"))
        seen.update(turn.point for turn in outcome.turns)
    own = {points.SIE_ACCESS, points.FAULT_EXIT, points.GET_CLEAR}
    assert {*own, points.VSIE_PIN, points.VSIE_SHADOW, points.VSIE_RUN, points.VSIE_UNPIN} <= seen
    assert {"unpinned-map"} <= broken <= {"unpinned-map", "stale-read", "lost-write", "lost-dirty-page"}
