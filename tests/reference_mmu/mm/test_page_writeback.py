# SPDX-License-Identifier: GPL-2.0-only
"""Writeback: the page stays mapped, read-only and clean, unless it is not there any more once it is locked."""

import pytest

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.mm.host import HOST_D, HOST_W
from reference_mmu.mm.page_writeback import writeback
from reference_mmu.mm.truncate import truncate_pagecache_range
from reference_mmu.points import INV_IO, MM_WAIT, TRUNCATE_FOLIO
from tests.by_hand import DEVICE, MM, Stage
from tests.notified import pair, record_notifiers


def test_it_is_protected_first_and_written_afterwards(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("file", "anon"))
    writer = stage.write(0, 1)
    calls = record_notifiers(stage)
    thread = stage.thread(MM, writeback(stage.m, 1)).to(INV_IO)
    assert calls == pair(1, 2)
    assert stage.m.host.flags[1] & (HOST_W | HOST_D) == 0
    assert int(stage.m.host.swap[1]) == 0
    thread.finish()
    assert int(stage.m.host.swap[1]) == writer.uid + 1
    assert {int(page.locked_by) for page in stage.m.host.pages} == {-1}
    assert stage.final_violations() == []


def test_a_page_that_is_dropped_meanwhile_is_not_written(semantics: Semantics) -> None:
    stage = Stage(semantics, backing=("file", "anon"))
    stage.write(0, 1)
    truncation = stage.thread(DEVICE, truncate_pagecache_range(stage.m, 1, 2)).to(TRUNCATE_FOLIO)
    thread = stage.thread(MM, writeback(stage.m, 1)).to(MM_WAIT)
    assert not thread.can_run()
    truncation.finish()
    calls = record_notifiers(stage)
    thread.finish()
    assert calls == []
    assert int(stage.m.host.swap[1]) == 0


@pytest.mark.parametrize("backing", ["anon", "shmem"])
def test_memory_that_only_reclaim_writes_out_keeps_its_rights(semantics: Semantics, backing: str) -> None:
    stage = Stage(semantics, backing=(backing, "anon"))
    stage.write(0, 1)
    before = list(stage.m.host.flags)
    calls = record_notifiers(stage)
    stage.thread(MM, writeback(stage.m, 1)).finish()
    assert calls == []
    assert list(stage.m.host.flags) == before
    assert before[1] & HOST_W
    assert int(stage.m.host.swap[1]) == 0
