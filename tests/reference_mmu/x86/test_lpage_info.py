# SPDX-License-Identifier: GPL-2.0-only
"""lpage_info: there for 2M and 1G whatever levels of paging there are, and nothing beside it."""

import pytest

from reference_mmu.config import SlotConfig
from reference_mmu.x86.lpage_info import lpage_disallowed, update_gfn_disallow_lpage_count
from reference_mmu.x86.shadow_mmu.rmap import kvm_rmap_zap_collapsible_sptes
from tests.by_hand import IOCTL, Stage


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_every_geometry_has_both_sizes(levels: int) -> None:
    stage = Stage(levels=levels)
    slot = stage.m.memslots[0]
    assert [lpage_disallowed(stage.m, slot, 1, level) for level in (2, 3)] == [False, True]
    update_gfn_disallow_lpage_count(stage.m, slot, 1, 1)
    assert [lpage_disallowed(stage.m, slot, gfn, 2) for gfn in (3, 4)] == [True, False]
    assert stage.violations == []


@pytest.mark.parametrize("gfn", [4, 11, 24])
def test_what_is_beside_the_array_is_an_error(gfn: int) -> None:
    """Python would take the last element for one before the first. In the kernel a table of 2M pages that begins before
    its memslot leads there (kvm_rmap_zap_collapsible_spte())."""
    stage = Stage(slots=(SlotConfig(base=12, npages=8, hva=0),))
    slot = stage.m.memslots[0]
    assert lpage_disallowed(stage.m, slot, gfn, 2)
    assert stage.violations == ["bug"]
    update_gfn_disallow_lpage_count(stage.m, slot, gfn, 1)
    assert list(slot.disallow_lpage[0]) == [0, 0]


def test_a_table_of_huge_pages_that_begins_before_its_memslot_leads_beside_the_array() -> None:
    """When logging ends the shadow MMU asks which tables a larger page could replace, each by its own first gfn: here
    gfn 0, and the memslot begins at 2."""
    slots = (SlotConfig(base=2, npages=6, hva=2, logging=False),)
    stage = Stage(mmu="shadow", bits=1, levels=4, word_gfns=2, slots=slots, backing=("thp",) * 4)
    stage.write(0, 3)
    assert stage.level(3) == 2
    table, _ = stage.entry(3)
    assert table.gfn == 0
    stage.m.actor = IOCTL
    stage.m.srcu.lock(IOCTL)
    stage.m.write_lock()
    assert list(kvm_rmap_zap_collapsible_sptes(stage.m, stage.m.memslots[0])) == []
    assert stage.violations == ["bug"]
