# SPDX-License-Identifier: GPL-2.0-only
"""Faults of LoongArch and of MIPS, where software sets young bits: what both do alike, before the series and after
it. What one of them does alone is tested with it."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.kvm.vcpu import TLB_W
from reference_mmu.observed import PF_FAST, PF_FIXED
from reference_mmu.stage2.points import FAULT_LOCK, FAULT_SEQ
from reference_mmu.stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG
from tests.stage2_by_hand import OLD_AND_NEW, Stage2Stage

BOTH = pytest.mark.parametrize("arch", ["loongarch", "mips"])


@BOTH
@OLD_AND_NEW
def test_a_read_maps_clean_and_the_next_write_is_fast(arch: str, semantics: Semantics) -> None:
    stage = Stage2Stage(arch, semantics)
    assert stage.read(0, 1).faults == [PF_FIXED]
    assert stage.leaf(1) & (S2_WRITE | S2_MAY_WRITE | S2_YOUNG) == S2_MAY_WRITE | S2_YOUNG
    assert stage.page(1).dirty == (semantics == NEW)
    assert stage.write(0, 1).faults == [PF_FAST]
    assert stage.leaf(1) & S2_WRITE
    assert stage.page(1).dirty


@BOTH
@pytest.mark.parametrize(("semantics", "marks"), [(OLD, (1, True)), (NEW, (0, False))], ids=["old", "new"])
def test_the_fast_path_marks_its_page_or_leaves_it_alone(
    arch: str, semantics: Semantics, marks: tuple[int, bool]
) -> None:
    """MIPS takes no reference meanwhile, LoongArch does."""
    stage = Stage2Stage(arch, semantics)
    stage.read(0, 1)
    stage.forget()
    assert stage.write(0, 1).faults == [PF_FAST]
    assert stage.leaf(1) & S2_YOUNG
    assert marks == (int(stage.page(1).accessed), stage.page(1).dirty)
    assert stage.page(1).kvm_refs == 0
    wrong = "late-page-mark" if arch == "loongarch" else "mark-without-reference"
    assert stage.violations == ([wrong] if semantics == OLD else [])


@BOTH
@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 1), (NEW, 0)], ids=["old", "new"])
def test_a_stale_page_is_looked_up_again_at_once(arch: str, semantics: Semantics, marks: int) -> None:
    stage = Stage2Stage(arch, semantics)
    store = stage.access(0, 1, write=True).to(FAULT_LOCK)
    stage.begin_invalidation(1, 2)
    store.to(FAULT_SEQ)
    assert store.faults == []
    assert (stage.page(1).accessed, stage.page(1).kvm_refs) == (marks, 0)
    assert stage.violations == (["late-page-mark"] if semantics == OLD else [])
    stage.end_invalidation(1, 2)
    store.finish()
    assert store.faults == [PF_FIXED]


@BOTH
@pytest.mark.reaches("stale-writable-mmuw")
def test_a_read_replaces_what_another_cpu_may_write_and_flushes_its_own(arch: str) -> None:
    stage = Stage2Stage(arch)
    load = stage.access(0, 1, upgrade_fails=True).to(FAULT_LOCK)
    stage.write(1, 1)
    load.finish()
    assert not stage.leaf(1) & (S2_WRITE | S2_MAY_WRITE)
    assert stage.cached(1, 1) & TLB_W
    assert "stale-writable-mmuw" in stage.violations
