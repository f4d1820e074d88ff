# SPDX-License-Identifier: GPL-2.0-only
"""HV mode, Radix and hashed: faults, the page that is held meanwhile, and the dirty log of C bits."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.dirty_log import kvm_get_dirty_log_protect
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import PF_FAST, PF_FIXED, PF_RETRY
from reference_mmu.powerpc.points import HV_HPTE, HV_LOOKUP, RADIX_CREATE, RADIX_LOOKUP
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE
from tests.by_hand import IOCTL, MM
from tests.powerpc_by_hand import PowerpcStage
from tests.stage2_by_hand import HUGE, OLD_AND_NEW

BOTH = pytest.mark.parametrize("flavour", ["book3s_radix", "book3s_hv"])


@BOTH
@OLD_AND_NEW
def test_the_page_is_marked_dirty_when_no_lock_is_held_any_more(flavour: str, semantics: Semantics) -> None:
    stage = PowerpcStage(flavour, semantics)
    assert stage.write(0, 1).faults == [PF_FIXED]
    assert stage.leaf(1) & (S2_MAY_WRITE | S2_WRITE) == S2_MAY_WRITE | S2_WRITE
    assert stage.m.host.pages[stage.m.host.pte[1]].dirty
    assert stage.final_violations() == []


@BOTH
@pytest.mark.parametrize(("semantics", "references"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_the_zero_page_is_lost_sight_of(flavour: str, semantics: Semantics, references: int) -> None:
    stage = PowerpcStage(flavour, semantics, backing=("untouched", "untouched"))
    stage.read(0, 1)
    page = stage.m.host.pages[stage.m.host.pte[1]]
    assert page.zero
    assert page.kvm_refs == references
    assert not stage.leaf(1) & S2_MAY_WRITE


@pytest.mark.parametrize(
    ("flavour", "point"),
    [
        ("book3s_radix", RADIX_LOOKUP),
        ("book3s_radix", RADIX_CREATE),
        ("book3s_hv", HV_LOOKUP),
        ("book3s_hv", HV_HPTE),
    ],
)
def test_a_stale_page_is_not_mapped_however_late_the_invalidation(flavour: str, point: int) -> None:
    stage = PowerpcStage(flavour)
    load = stage.access(0, 1).to(point)
    stage.run(MM, change_protection_numa(stage.m, 1, 2))
    load.finish()
    assert load.faults == [PF_RETRY, PF_FIXED]


def test_radix_without_hardware_bits_faults_for_c_alone() -> None:
    stage = PowerpcStage("book3s_radix", hardware_young=False)
    stage.read(0, 1)
    sp, index = stage.entry(1)
    sp.spt[index] &= ~S2_WRITE
    stage.m.flush_all()
    assert stage.write(0, 1).faults == [PF_FAST]


def test_a_block_of_radix_and_none_of_a_hashed_table() -> None:
    for flavour, level in (("book3s_radix", 2), ("book3s_hv", 1)):
        stage = PowerpcStage(flavour, **HUGE)
        stage.read(0, 6)
        assert stage.level(6) == level


@BOTH
def test_a_harvest_moves_the_c_bits(flavour: str) -> None:
    stage = PowerpcStage(flavour, slots=(SlotConfig(base=0, npages=8, hva=0, logging=True),))
    stage.write(0, 1)
    stage.run(IOCTL, kvm_get_dirty_log_protect(stage.m, 0))
    assert stage.leaf(1) & (S2_MAY_WRITE | S2_WRITE) == S2_MAY_WRITE
    assert not stage.dirty(1)
    stage.write(0, 1)
    stage.m.stop()
    assert stage.dirty(1)
