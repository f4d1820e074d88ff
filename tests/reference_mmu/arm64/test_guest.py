# SPDX-License-Identifier: GPL-2.0-only
"""Tags of guest memory copied by userspace: which pages, how they are marked, and that they are let go of."""

from typing import Any

import pytest

from reference_mmu.arm64.points import TAGS_COPY
from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.mm.errno import EBUSY, EFAULT
from reference_mmu.mm.vmscan import shrink_folio_list
from reference_mmu.observed import COUNT_ACCESSED_MARKS, COUNT_DIRTY_MARKS, COUNT_PAGE_LOOKUPS, EV_ERRNO, EV_SHIFT
from reference_mmu.operations import COPY_TAGS, CREATE_SLOT, DELETE_SLOT, Call
from tests.by_hand import IOCTL, MM, VALUE, Thread
from tests.stage2_by_hand import OLD_AND_NEW, Stage2Stage

BEFORE = parse_semantics("old+gfn-to-page-read-only")
AFTER = parse_semantics("old+arm64-mte-copy-tags-via-gfn-to-page")


def tagged_memory(kind: str, semantics: Semantics, **config: Any) -> Stage2Stage:
    return Stage2Stage("arm64", semantics, backing=(kind, kind), **config)


def copying(stage: Stage2Stage, gfn: int = 1, *, from_guest: bool = False) -> Thread:
    return stage.thread(IOCTL, stage.m.start(IOCTL, Call(0, COPY_TAGS, gfn, int(from_guest))))


def errno(thread: Thread) -> int:
    """What the ioctl returned, 0 for success."""
    errors = [event & VALUE for event in thread.events() if event >> EV_SHIFT == EV_ERRNO]
    return errors[0] if errors else 0


# Accept.


@OLD_AND_NEW
@pytest.mark.parametrize(("from_guest", "dirty_marks"), [(True, 0), (False, 1)])
def test_a_page_is_marked_and_put(from_guest: bool, dirty_marks: int, semantics: Semantics) -> None:
    stage = tagged_memory("anon", semantics)
    thread = copying(stage, from_guest=from_guest).to(TAGS_COPY)
    page = stage.m.host.folio(stage.m.host.pte[1])
    assert page.kvm_refs == 1
    thread.finish()
    assert (errno(thread), page.kvm_refs) == (0, 0)
    assert (thread.count(COUNT_ACCESSED_MARKS), thread.count(COUNT_DIRTY_MARKS)) == (1, dirty_marks)
    assert not stage.m.slots_lock


@OLD_AND_NEW
@pytest.mark.parametrize(("from_guest", "copies"), [(True, False), (False, True)])
def test_who_reads_tags_breaks_no_copy_on_write(from_guest: bool, copies: bool, semantics: Semantics) -> None:
    stage = tagged_memory("cow", semantics)
    shared = int(stage.m.host.pte[1])
    thread = copying(stage, from_guest=from_guest).finish()
    assert (errno(thread), stage.m.host.pte[1] != shared) == (0, copies)


def test_a_page_is_looked_up_by_its_pfn_no_more() -> None:
    for semantics, lookups in ((BEFORE, 1), (AFTER, 0)):
        thread = copying(tagged_memory("anon", semantics)).finish()
        assert thread.count(COUNT_PAGE_LOOKUPS) == lookups


# Reject.

NO_PAGE = "pfnmap-unrefcounted", "pfnmap-nostruct", "fsdax", "devdax", "hwpoison", "readonly"


@pytest.mark.parametrize(
    ("kind", "before", "after", "new"),
    [
        ("pfnmap-refcounted", 0, 0, EFAULT),
        ("pfnmap-reserved", 0, EFAULT, EFAULT),
        *((kind, EFAULT, EFAULT, EFAULT) for kind in NO_PAGE),
    ],
)
def test_what_has_no_page_is_refused(kind: str, before: int, after: int, new: int) -> None:
    for semantics, expected in ((BEFORE, before), (AFTER, after), (NEW, new)):
        stage = tagged_memory(kind, semantics)
        thread = copying(stage).finish()
        assert errno(thread) == expected
        if expected:
            assert (thread.count(COUNT_ACCESSED_MARKS), thread.count(COUNT_DIRTY_MARKS)) == (0, 0)
        assert all(page.kvm_refs == 0 for page in stage.m.host.pages)
        assert not stage.m.slots_lock


@OLD_AND_NEW
def test_a_gfn_without_memslot_is_refused(semantics: Semantics) -> None:
    assert errno(copying(tagged_memory("anon", semantics), gfn=20).finish()) == EFAULT


@OLD_AND_NEW
@pytest.mark.parametrize(("from_guest", "expected"), [(True, 0), (False, EBUSY)])
def test_nothing_is_written_while_any_memslot_logs(from_guest: bool, expected: int, semantics: Semantics) -> None:
    slots = (SlotConfig(0, 4, 0), SlotConfig(4, 4, 4, logging=True))
    stage = tagged_memory("anon", semantics, slots=slots)
    thread = copying(stage, from_guest=from_guest).finish()
    assert (errno(thread), thread.count(COUNT_ACCESSED_MARKS)) == (expected, 0 if expected else 1)


@OLD_AND_NEW
def test_memslots_wait(semantics: Semantics) -> None:
    stage = tagged_memory("anon", semantics)
    thread = copying(stage).to(TAGS_COPY)
    deletion = stage.thread(MM, stage.m.start(MM, Call(0, DELETE_SLOT, 0)))
    deletion.step()
    assert not deletion.can_run()
    thread.finish()
    deletion.finish()
    assert errno(copying(stage).finish()) == EFAULT
    stage.run(IOCTL, stage.m.start(IOCTL, Call(0, CREATE_SLOT, 0)))
    assert errno(copying(stage).finish()) == 0


# Legal, though odd.


@pytest.mark.reaches("unpinned-map")
@OLD_AND_NEW
def test_a_reference_keeps_the_page_from_being_freed_and_no_more(semantics: Semantics) -> None:
    """The process loses its mapping of the page whose tags are being written."""
    stage = tagged_memory("anon", semantics)
    thread = copying(stage).to(TAGS_COPY)
    pfn = int(stage.m.host.pte[1])
    stage.run(MM, shrink_folio_list(stage.m, 1))
    assert stage.m.host.pte[1] < 0
    assert not stage.m.host.pages[pfn].freed
    thread.finish()
    assert errno(thread) == 0
    assert "unpinned-map" in stage.violations
    assert not {"late-page-mark", "mark-without-reference", "refcount-underflow"} & set(stage.violations)


def test_reserved_memory_of_a_driver_was_copied_without_a_reference() -> None:
    stage = tagged_memory("pfnmap-reserved", BEFORE)
    thread = copying(stage).to(TAGS_COPY)
    assert stage.m.host.folio(stage.m.host.pte[1]).kvm_refs == 0
    assert (errno(thread.finish()), thread.count(COUNT_DIRTY_MARKS)) == (0, 0)
    assert OLD.patches < BEFORE.patches
