# SPDX-License-Identifier: GPL-2.0-only
"""fork(): private memory becomes copy-on-write, VMA by VMA; pinned pages do not."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.fork import dup_mmap
from reference_mmu.mm.host import HOST_SHARED, HOST_W, PTE_SWAP
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.points import INV_CLEAN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, told_of


def test_every_private_vma_is_write_protected(stage: Stage) -> None:
    stage.write(0, 1)
    assert told_of(stage, dup_mmap(stage.m)) == [*pair(0, 4), *pair(4, 8)]
    assert all(flags & (HOST_W | HOST_SHARED) == HOST_SHARED for flags in stage.m.host.flags)
    assert {int(stage.m.host.pages[pfn].refcount) for pfn in stage.m.host.pte} == {2}
    shared = int(stage.m.host.pte[1])
    stage.read(0, 1)
    assert int(stage.m.host.pte[1]) == shared
    stage.write(0, 1)
    assert int(stage.m.host.pte[1]) != shared
    assert not stage.m.host.pages[shared].freed
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["file", "shmem", "hugetlb", "pfnmap-refcounted", "readonly"])
def test_shared_memory_stays_as_it_is(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, kind))
    flags = [int(flag) for flag in stage.m.host.flags]
    assert told_of(stage, dup_mmap(stage.m)) == []
    assert [int(flag) for flag in stage.m.host.flags] == flags


def test_of_a_page_that_may_be_pinned_the_child_gets_a_copy(stage: Stage) -> None:
    pfn = int(stage.m.host.pte[1])
    stage.m.host.pin(pfn)
    stage.run(MM, dup_mmap(stage.m))
    assert stage.m.host.flags[1] & (HOST_W | HOST_SHARED) == HOST_W
    assert stage.m.host.flags[2] & (HOST_W | HOST_SHARED) == HOST_SHARED


def test_what_is_swapped_out_or_zero_needs_no_reference(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("swapped", "untouched"))
    stage.read(0, 5)
    zero = stage.m.host.pages[int(stage.m.host.pte[5])]
    before = int(zero.refcount)
    stage.run(MM, dup_mmap(stage.m))
    assert (int(stage.m.host.pte[1]), int(stage.m.host.flags[1])) == (PTE_SWAP, HOST_SHARED)
    assert int(zero.refcount) == before


def test_a_page_that_migrates_meanwhile_comes_back_shared(stage: Stage) -> None:
    stage.write(0, 1)
    pfn = int(stage.m.host.pte[1])
    migration = stage.thread(MM, migrate_page(stage.m, 1)).to(INV_CLEAN)
    stage.run(DEVICE, dup_mmap(stage.m))
    migration.finish()
    assert int(stage.m.host.pte[1]) == pfn  # the child's reference keeps it from moving
    assert stage.m.host.flags[1] & (HOST_W | HOST_SHARED) == HOST_SHARED
    assert stage.final_violations() == []
