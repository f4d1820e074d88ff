# SPDX-License-Identifier: GPL-2.0-only
"""mprotect(): read-only, and writable again as far as a write would find nothing to do."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W
from reference_mmu.mm.migrate import migrate_page
from reference_mmu.mm.mprotect import change_protection_numa, mprotect
from reference_mmu.mm.vma import VM_READ
from reference_mmu.observed import PF_ERROR
from reference_mmu.points import INV_CLEAN
from reference_mmu.rwlock import ModelBug
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, told_of


@pytest.mark.parametrize("kind", ["anon", "thp", "file", "shmem", "hugetlb", "pfnmap-reserved"])
def test_a_vma_becomes_read_only_and_writable_again(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    before = int(stage.m.host.contents(1))
    assert told_of(stage, mprotect(stage.m, 1, False)) == pair(0, 4)
    assert not any(flags & HOST_W for flags in stage.m.host.flags[:4])
    refused = stage.write(0, 1)
    assert PF_ERROR in refused.faults or kind == "pfnmap-reserved"
    assert int(stage.m.host.contents(1)) == before
    stage.read(0, 1)
    stage.run(MM, mprotect(stage.m, 1, True))
    assert all(flags & HOST_W for flags in stage.m.host.flags[:4])
    writer = stage.write(0, 1)
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    assert stage.final_violations() == []


@pytest.mark.parametrize(("kind", "flags"), [("cow", HOST_SHARED), ("ksm", HOST_SHARED), ("file", 0)])
def test_what_a_write_would_have_to_deal_with_stays_read_only(kind: str, flags: int, semantics: Semantics) -> None:
    """Copy-on-write, or a filesystem that wants to know."""
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.m.host.flags[1] = flags
    stage.run(MM, mprotect(stage.m, 1, False))
    stage.run(MM, mprotect(stage.m, 1, True))
    assert int(stage.m.host.flags[1]) == flags
    stage.write(0, 1)
    assert int(stage.m.host.flags[1]) == HOST_W | HOST_D
    assert stage.final_violations() == []


def test_what_may_never_be_written_does_not_become_writable(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("readonly", "anon"))
    assert told_of(stage, mprotect(stage.m, 1, True)) == []
    assert stage.write(0, 1).faults == [PF_ERROR]


def test_a_page_that_migrates_meanwhile_comes_back_read_only(stage: Stage) -> None:
    stage.write(0, 1)
    migration = stage.thread(MM, migrate_page(stage.m, 1)).to(INV_CLEAN)
    stage.run(DEVICE, mprotect(stage.m, 1, False))
    migration.finish()
    assert int(stage.m.host.pte[1]) >= 0
    assert int(stage.m.host.flags[1]) == HOST_D
    assert stage.final_violations() == []


@pytest.mark.parametrize("vm_flags", [0, VM_READ])
def test_no_pte_allows_more_than_its_vma(vm_flags: int) -> None:
    host = Stage().m.host
    host.vm_flags[0] = vm_flags
    with pytest.raises(ModelBug, match=r"^hva 1: a host PTE that its VMA does not allow$"):
        host.set_pte(1, host.pte[1], HOST_W)


def test_a_numa_hint_ends_with_the_next_change(stage: Stage) -> None:
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    assert stage.m.host.flags[1] & HOST_PROTNONE
    stage.run(MM, mprotect(stage.m, 1, True))
    assert int(stage.m.host.flags[1]) == HOST_W | HOST_D
