# SPDX-License-Identifier: GPL-2.0-only
"""vSIE pins pages and lets go of them, marked and logged, whoever does what meanwhile."""

import pytest

from reference_mmu.changelog.semantics import OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.host import HOST_D, HOST_W
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.observed import EV_MAP, EV_READ, EV_SHIFT, MAP_REFUSED, MAP_UNPINNED
from reference_mmu.operations import RUN_VSIE, Call
from reference_mmu.s390.dirty_log import kvm_vm_ioctl_get_dirty_log
from reference_mmu.s390.points import GET_CLEAR, VSIE_RUN, VSIE_SHADOW, VSIE_UNPIN
from tests.by_hand import IOCTL, MM, Thread
from tests.s390_by_hand import OLD_AND_NEW, S390Stage

MAPPED = EV_MAP << EV_SHIFT | MAP_UNPINNED
REFUSED = EV_MAP << EV_SHIFT | MAP_REFUSED
READ = EV_READ << EV_SHIFT


def run_vsie(s390: S390Stage, scb: int, itdb: int) -> Thread:
    return s390.thread(0, s390.m.start(0, Call(0, RUN_VSIE, scb, itdb)))


def marks(s390: S390Stage, gfn: int) -> tuple[int, bool, int]:
    """References of KVM, PG_dirty, how often marked accessed."""
    page = s390.page(gfn)
    return int(page.kvm_refs), page.dirty, int(page.accessed)


# Accept.


@OLD_AND_NEW
def test_both_pages_are_held_while_the_guests_guest_runs_and_marked_then(semantics: Semantics) -> None:
    s390 = S390Stage(semantics, backing=("shmem", "shmem"), slots=(SlotConfig(base=8, npages=8, hva=0, logging=True),))
    run = run_vsie(s390, 9, 14).to(VSIE_UNPIN)
    assert marks(s390, 9) == marks(s390, 14) == (1, False, 0)
    run.finish()
    assert marks(s390, 9) == marks(s390, 14) == (0, True, 1)
    assert [gfn for gfn in range(8, 16) if s390.dirty(gfn)] == [9, 14]
    assert run.events() == [MAPPED, READ, MAPPED]
    assert s390.final_violations() == ["unpinned-map"]


@OLD_AND_NEW
def test_one_page_may_be_both_blocks(semantics: Semantics) -> None:
    s390 = S390Stage(semantics)
    run = run_vsie(s390, 1, 1).to(VSIE_RUN)
    assert s390.page(1).kvm_refs == 2
    run.finish()
    assert marks(s390, 1) == (0, True, 2)


@OLD_AND_NEW
@pytest.mark.parametrize("kind", ["pfnmap-nostruct", "pfnmap-reserved", "readonly"])
def test_what_cannot_be_pinned_ends_it_and_leaves_nothing(semantics: Semantics, kind: str) -> None:
    """An addressing exception for the control block, a validity interception for the other."""
    s390 = S390Stage(semantics, backing=("anon", kind))
    assert run_vsie(s390, 5, 1).finish().events() == [REFUSED]
    assert run_vsie(s390, 1, 5).finish().events() == [MAPPED, READ, REFUSED]
    assert marks(s390, 1) == (0, True, 1)
    assert all(page.kvm_refs == 0 for page in s390.m.host.pages)


def test_memory_mapped_by_pfn_is_pinned_by_guess_before_the_series() -> None:
    s390 = S390Stage(OLD, backing=("anon", "pfnmap-refcounted"))
    run = run_vsie(s390, 5, 1).to(VSIE_SHADOW)
    assert s390.page(5).kvm_refs == 1
    run.finish()
    assert marks(s390, 5) == (0, True, 1)


# Reject: it is no pin.


@pytest.mark.reaches("unpinned-map")
def test_a_plain_reference_is_told_to_be_no_pin() -> None:
    s390 = S390Stage()
    run_vsie(s390, 1, 2).finish()
    assert s390.violations == ["unpinned-map"]


@pytest.mark.reaches("lost-write")
def test_a_page_that_a_fork_and_a_store_have_replaced_is_written_in_vain() -> None:
    s390 = S390Stage()
    run = run_vsie(s390, 1, 2).to(VSIE_RUN)
    s390.run(MM, dup_mmap(s390.m))
    s390.write(1, 2)  # the process gets a copy
    run.finish()
    assert "lost-write" in s390.final_violations()


@pytest.mark.reaches("lost-dirty-page")
def test_a_page_that_is_unpinned_while_the_bitmap_is_cleared_is_never_reported() -> None:
    s390 = S390Stage(slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    run = run_vsie(s390, 1, 2).to(VSIE_UNPIN)
    s390.write(1, 3)
    get = s390.thread(IOCTL, kvm_vm_ioctl_get_dirty_log(s390.m, 0)).to(GET_CLEAR)
    run.finish()
    get.finish()
    assert "lost-dirty-page" in s390.final_violations()


# Legal, though odd.


def test_a_page_that_is_held_is_not_migrated() -> None:
    s390 = S390Stage()
    pfn = s390.m.host.pte[1]
    run = run_vsie(s390, 1, 2).to(VSIE_RUN)
    s390.run(MM, migrate_page(s390.m, 1))
    assert s390.m.host.pte[1] == pfn
    run.finish()
    s390.run(MM, migrate_page(s390.m, 1))
    assert s390.m.host.pte[1] != pfn


@OLD_AND_NEW
def test_a_page_that_was_thrown_away_is_marked_and_freed_when_it_is_unpinned(semantics: Semantics) -> None:
    s390 = S390Stage(semantics)
    page = s390.page(2)
    run = run_vsie(s390, 1, 2).to(VSIE_UNPIN)
    s390.run(MM, discard(s390.m, 2, 3))
    references = [int(page.refcount)]
    run.finish()
    assert [*references, int(page.refcount)] == [1, 0]
    assert page.dirty


def test_a_page_of_copy_on_write_is_copied_when_it_is_pinned() -> None:
    s390 = S390Stage(backing=("cow", "cow"))
    old = s390.m.host.pte[1]
    run_vsie(s390, 1, 2).finish()
    assert s390.m.host.pte[1] != old
    assert s390.m.host.flags[1] & (HOST_W | HOST_D) == HOST_W | HOST_D
