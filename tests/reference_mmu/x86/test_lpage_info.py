# SPDX-License-Identifier: GPL-2.0-only
"""lpage_info: there for 2M and 1G whatever levels of paging there are, and nothing beside it."""

import pytest

from reference_mmu.config import SlotConfig
from reference_mmu.x86.lpage_info import lpage_disallowed, update_gfn_disallow_lpage_count
from tests.by_hand import Stage


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
