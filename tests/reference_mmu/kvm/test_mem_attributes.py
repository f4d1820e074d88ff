# SPDX-License-Identifier: GPL-2.0-only
"""gfns that become private, or shared: each half of a memslot keeps what it has, and faults in between are stale."""

import pytest

from reference_mmu.kvm.mem_attributes import kvm_vm_set_mem_attributes
from reference_mmu.mm.errno import EFAULT
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.observed import EV_ERRNO, EV_SHIFT, PF_ERROR, PF_FIXED, PF_RETRY
from reference_mmu.points import ATTR_LOCK, ATTR_STORE, FAULT_ENTER, GMEM_PREPARE
from reference_mmu.x86.points import FAULT_LOCK_R, FAULT_SEQ
from tests.by_hand import IOCTL, MM, Stage, Thread
from tests.reference_mmu.kvm.test_guest_memfd import gmem_stage, punch

REFUSED = EV_ERRNO << EV_SHIFT | EFAULT


def set_attributes(stage: Stage, start: int, end: int, private: bool) -> Thread:
    return stage.thread(IOCTL, kvm_vm_set_mem_attributes(stage.m, start, end, private))


def stamp(thread: Thread) -> int:
    """What a load has read."""
    return thread.events()[-1] & 0xFF


# Accept.


def test_each_half_keeps_what_was_written_to_it() -> None:
    stage = gmem_stage()
    private = stage.write(0, 2)
    set_attributes(stage, 2, 3, False).finish()
    assert stage.leaf(2) == 0
    assert stamp(stage.read(0, 2)) == 0
    shared = stage.write(0, 2)
    set_attributes(stage, 2, 3, True).finish()
    assert stamp(stage.read(1, 2)) == private.uid + 1
    set_attributes(stage, 2, 3, False).finish()
    assert stamp(stage.read(1, 2)) == shared.uid + 1
    assert stage.final_violations() == []


def test_what_is_so_already_is_left_alone() -> None:
    stage = gmem_stage()
    stage.write(0, 2)
    seq = stage.m.mmu_invalidate_seq
    assert ATTR_LOCK not in set_attributes(stage, 1, 4, True).finish().points
    assert (stage.leaf(2) != 0, stage.m.mmu_invalidate_seq) == (True, seq)


def test_a_range_without_a_memslot_invalidates_nothing() -> None:
    stage = gmem_stage()
    assert ATTR_LOCK not in set_attributes(stage, 20, 22, True).finish().points
    assert stage.m.kvm_mem_is_private(21)


# Reject: a fault that the change comes between maps nothing of what was.


@pytest.mark.parametrize("to", [GMEM_PREPARE, FAULT_LOCK_R])
def test_a_private_fault_is_stale_while_and_after_the_gfn_becomes_shared(to: int) -> None:
    stage = gmem_stage()
    fault = stage.access(0, 2, write=True).to(to)
    change = set_attributes(stage, 2, 3, False).to(ATTR_STORE)
    fault.to(FAULT_ENTER)  # the next one
    change.finish()
    fault.finish()
    assert fault.faults == [PF_RETRY, PF_FIXED]
    assert stage.m.host.pages[stage.m.host.pte[1]].data == fault.uid + 1
    assert stage.final_violations() == []


def test_a_fault_that_exited_with_the_other_attribute_is_userspaces() -> None:
    stage = gmem_stage()
    fault = stage.access(0, 2, write=True).to(FAULT_SEQ)
    set_attributes(stage, 2, 3, False).finish()
    fault.finish()
    assert fault.faults == [PF_ERROR]
    assert REFUSED in fault.events()
    assert all(page.kvm_refs == 0 for page in stage.m.host.pages)


def test_a_private_gfn_of_a_memslot_that_has_no_such_memory_is_userspaces() -> None:
    stage = Stage(slots=(*gmem_stage().m.config.slots[:1],))
    stage.m.memslots[0].gmem_pgoff = -1
    assert stage.write(0, 2).events()[-2:] == [REFUSED, stage.read(0, 2).events()[-1]]


# Legal, though odd.


def test_what_the_process_does_to_its_half_zaps_the_other_too() -> None:
    """The notifier knows addresses, and does not ask what a gfn is backed by."""
    stage = gmem_stage()
    stage.write(0, 2)
    pfn = stage.m.host.pte[1]
    stage.run(MM, migrate_page(stage.m, 1))
    assert stage.m.host.pte[1] != pfn
    assert stage.leaf(2) == 0
    assert stage.read(0, 2).faults == [PF_FIXED]
    assert stage.final_violations() == []


def test_a_hole_zaps_what_is_shared_too() -> None:
    stage = gmem_stage()
    set_attributes(stage, 2, 3, False).finish()
    stage.write(0, 2)
    punch(stage, 3, 1).finish()
    assert stage.leaf(2) == 0
    assert stage.final_violations() == []


def test_a_fault_that_a_hole_comes_between_takes_a_new_page() -> None:
    stage = gmem_stage()
    fault = stage.access(0, 2, write=True).to(FAULT_LOCK_R)
    old = [page for page in stage.m.host.pages if page.kvm_refs]
    punch(stage, 3, 1).finish()
    fault.finish()
    assert fault.faults == [PF_RETRY, PF_FIXED]
    assert [page.freed for page in old] == [True]
    assert stage.final_violations() == []
