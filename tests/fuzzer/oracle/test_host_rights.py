# SPDX-License-Identifier: GPL-2.0-only
"""The guest gets what the process has at an address, and no more rights to it."""

from typing import Any

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.config import SlotConfig
from reference_mmu.mm.ksm import share_page
from reference_mmu.mm.madvise import discard
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.powerpc.software_tlb import SoftwareTlb
from reference_mmu.x86.spte import PT_WRITABLE_MASK, SHADOW_NONPRESENT_VALUE, is_mmu_writable_spte
from tests.by_hand import MM, Stage
from tests.parameters import EVERY_MMU_OF_BOTH
from tests.powerpc_by_hand import PowerpcStage


def writable(stage: Stage, spte: int) -> int:
    """The leaf as a fault would make it that takes the page for writable."""
    masks = stage.m.masks
    return int(spte | PT_WRITABLE_MASK | masks.shadow_mmu_writable_mask | masks.shadow_host_writable_mask)


# --- accepts ---------------------------------------------------------------------------------------------------


@EVERY_MMU_OF_BOTH
@pytest.mark.parametrize("kind", ["anon", "cow", "ksm", "untouched", "readonly", "fsdax"])
def test_accepts_reads_and_writes_of_memory_that_is_shared(kind: str, mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, backing=(kind, "anon"))
    stage.read(0, 1)
    assert bool(is_mmu_writable_spte(stage.m.masks, stage.leaf(1))) == (kind in {"anon", "fsdax"})
    stage.run(MM, share_page(stage.m, 1))
    if kind != "readonly":
        stage.write(1, 1)
    assert stage.final_violations() == []


@EVERY_MMU_OF_BOTH
def test_accepts_a_slot_that_ends_within_a_huge_page_and_gets_small_ones(mmu: str, semantics: Semantics) -> None:
    stage = Stage(semantics, mmu=mmu, backing=("thp", "thp"), slots=(SlotConfig(0, 6, 0),))
    stage.write(0, 1)
    stage.write(0, 5)
    assert [stage.level(gfn) for gfn in (1, 5)] == [2, 1]
    assert stage.final_violations() == []


# --- rejects ---------------------------------------------------------------------------------------------------


@pytest.mark.reaches("mapped-beyond-slot")
def test_rejects_a_huge_leaf_that_is_larger_than_its_slot() -> None:
    stage = PowerpcStage("book3s_radix", backing=("thp", "thp"), slots=(SlotConfig(0, 6, 0),))
    stage.write(0, 1)
    assert stage.violations == []
    stage.write(0, 5)
    assert stage.violations == ["mapped-beyond-slot"]


@pytest.mark.reaches("not-host-writable")
@pytest.mark.parametrize("kind", ["cow", "ksm", "untouched", "readonly"])
def test_rejects_a_writable_leaf_of_a_page_that_is_not_the_processs_alone(kind: str) -> None:
    stage = Stage(NEW, backing=(kind, "anon"))
    stage.read(0, 1)
    assert stage.violations == []
    stage.store(1, writable(stage, stage.leaf(1)))
    assert "not-host-writable" in stage.violations


def test_rejects_a_writable_leaf_in_a_slot_that_may_only_be_read() -> None:
    stage = Stage(NEW, slots=(SlotConfig(0, 8, 0, readonly=True),))
    stage.read(0, 1)
    assert stage.violations == []
    stage.store(1, writable(stage, stage.leaf(1)))
    assert stage.violations == ["not-host-writable"]


@pytest.mark.parametrize(("held", "violations"), [(True, ["not-host-writable"]), (False, [])], ids=["held", "free"])
def test_rejects_a_writable_entry_that_kvm_puts_into_a_tlb(held: bool, violations: list[str]) -> None:
    for may_write, expected in ((False, []), (True, violations)):
        stage = PowerpcStage("book3s_pr", backing=("readonly", "anon"))
        assert isinstance(stage.m, SoftwareTlb)
        if held:
            stage.m.write_lock()
        stage.m.map_tlb(stage.m.vcpus[0], 1, 1, stage.m.host.pte[1], may_write)
        assert stage.violations == expected


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        pytest.param(discard, ["mapped-gone-page"], marks=pytest.mark.reaches("mapped-gone-page")),
        (change_protection_numa, []),
    ],
    ids=["thrown away", "PROT_NONE"],
)
def test_rejects_a_leaf_of_a_page_that_is_gone(change: Any, violations: list[str]) -> None:
    """NUMA hinting is legal, though it looks wrong: the host PTE is PROT_NONE, and would allow writing again as soon as
    anybody asks."""
    stage = Stage(NEW)
    stage.write(0, 1)
    leaf = stage.leaf(1)
    stage.run(MM, change(stage.m, 1, 2))
    stage.store(1, leaf)
    assert stage.violations == violations


# --- legal, though it looks wrong ------------------------------------------------------------------------------


def test_legal_a_leaf_that_loses_what_it_had() -> None:
    stage = Stage(NEW, backing=("cow", "anon"))
    stage.read(0, 1)
    stage.store(1, SHADOW_NONPRESENT_VALUE)
    assert "not-host-writable" not in stage.violations


def test_legal_a_leaf_whose_slot_has_gone_meanwhile() -> None:
    """Whether it may be made at all is for others to judge."""
    stage = PowerpcStage("book3s_radix", backing=("thp", "anon"), slots=(SlotConfig(0, 4, 0),))
    stage.m.memslots.clear()
    stage.judge.host_rights.mapped(stage.m, 0, 2, stage.m.host.pte[0], False)
    assert stage.violations == []
