# SPDX-License-Identifier: GPL-2.0-only
"""Holes in files: unmapped together, dropped one by one, whoever holds the pages; dirty marks are lost."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import PTE_NONE
from reference_mmu.mm.mmap import munmap
from reference_mmu.mm.truncate import truncate_pagecache_range
from reference_mmu.points import GUP_WAIT, INV_END_LOCK, TRUNCATE_FOLIO
from reference_mmu.x86.points import FAULT_PFN
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, record_notifiers, told_of

EVERY_FILE = pytest.mark.parametrize("kind", ["file", "shmem"])


@EVERY_FILE
def test_pages_are_unmapped_cleaned_and_freed(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, kind))
    for gfn in range(8):
        stage.write(0, gfn)
    pages = [stage.m.host.pages[int(stage.m.host.pte[hva])] for hva in range(8)]
    assert told_of(stage, truncate_pagecache_range(stage.m, 3, 5)) == [*pair(3, 4), *pair(4, 5)]
    assert [page.freed for page in pages] == [False] * 3 + [True] * 2 + [False] * 3
    assert not any(page.dirty for page in pages[3:5])
    assert [int(stage.m.host.contents(hva)) for hva in range(2, 6)] == [3, 0, 0, 6]
    stage.read(1, 3)
    stage.write(1, 4)
    assert stage.final_violations() == []


@EVERY_FILE
def test_a_page_that_was_mapped_again_is_unmapped_once_more(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    calls = record_notifiers(stage)
    truncation = stage.thread(MM, truncate_pagecache_range(stage.m, 1, 3)).to(TRUNCATE_FOLIO)
    stage.write(0, 2)
    truncation.finish()
    assert calls == [*pair(1, 3), *pair(2, 3)]
    assert int(stage.m.host.contents(2)) == 0
    assert stage.final_violations() == []


@EVERY_FILE
def test_a_fault_waits_for_the_page_and_finds_the_hole(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    stage.write(0, 1)
    truncation = stage.thread(MM, truncate_pagecache_range(stage.m, 1, 2)).to(TRUNCATE_FOLIO)
    writer = stage.access(0, 1, write=True).to(GUP_WAIT)
    assert not writer.can_run()
    truncation.finish()
    writer.finish()
    assert int(stage.m.host.contents(1)) == writer.uid + 1
    assert stage.final_violations() == []


@EVERY_FILE
def test_a_page_that_kvm_holds_goes_all_the_same(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    pfn = int(stage.m.host.pte[1])
    holder = stage.access(0, 1, write=True).to(FAULT_PFN)
    stage.run(MM, truncate_pagecache_range(stage.m, 1, 2))
    assert int(stage.m.host.pte[1]) == PTE_NONE
    assert not stage.m.host.pages[pfn].freed
    holder.finish()
    assert stage.m.host.pages[pfn].freed
    assert int(stage.m.host.pte[1]) != pfn
    assert stage.final_violations() == []


@pytest.mark.parametrize("kind", ["anon", "thp", "hugetlb", "fsdax", "readonly"])
def test_nothing_else_is_a_file_that_can_have_holes(kind: str, semantics: Semantics) -> None:
    stage = Stage(semantics, backing=(kind, "anon"))
    assert told_of(stage, truncate_pagecache_range(stage.m, 0, 4)) == []


def test_a_mapping_that_goes_meanwhile_takes_the_page_along(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("shmem", "anon"))
    page = stage.m.host.pages[int(stage.m.host.pte[1])]
    truncation = stage.thread(MM, truncate_pagecache_range(stage.m, 1, 2)).to(INV_END_LOCK)
    stage.run(DEVICE, munmap(stage.m, 1))
    truncation.finish()
    assert page.freed
    assert stage.final_violations() == []
