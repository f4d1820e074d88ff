# SPDX-License-Identifier: GPL-2.0-only
"""Memory that is refused or given away without a page, and marks that only RISC-V and MIPS make: what v6.12 does, and
the series does not, in the stories that docs/findings.md tells."""

from __future__ import annotations

import pytest

from fuzzer.program import ops
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import decode_reproducer
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE, OLD
from reference_mmu.config import Backing, Config, SlotConfig
from tests.cli.shell import ROOT


def broken(name: str) -> tuple[set[str], set[str]]:
    """What the story breaks, in v6.12 and after the series."""
    outcome = decode_reproducer((ROOT / "docs" / "mended" / f"{name}.json").read_bytes()).run()
    return set(outcome.violations("old")), set(outcome.violations("new"))


def broken_by(config: Config, *made: ops.Write | ops.SharePage) -> tuple[set[str], set[str]]:
    """The same of what one vCPU does."""
    program = Program(config.check(), (Actor("vcpu", made),)).check()
    outcome = Comparison(OLD, NO_STRUCT_PAGE, "old").run(program, by_switches(()))
    return set(outcome.violations("old")), set(outcome.violations("new"))


@pytest.mark.parametrize(
    ("name", "invariant"),
    [
        pytest.param("mips-marked-after-put", "mark-after-put", marks=pytest.mark.reaches("mark-after-put")),
        pytest.param("riscv-dirty-unmapped", "dirty-unmapped", marks=pytest.mark.reaches("dirty-unmapped")),
        pytest.param("uv-share-without-page", "shared-without-page", marks=pytest.mark.reaches("shared-without-page")),
    ],
)
def test_what_the_series_mended(name: str, invariant: str) -> None:
    """MIPS marks a page that it has put, RISC-V one that it cannot map; the ultravisor is given memory without one."""
    old, new = broken(name)
    assert invariant in old
    assert new == set()


def test_riscv_marks_what_it_maps() -> None:
    old, _ = broken_by(Config(arch="riscv", vcpus=1), ops.Write(0, gfn=0), ops.Write(1, gfn=1))
    assert "dirty-unmapped" not in old


def test_the_ultravisor_may_have_a_page_that_is_held() -> None:
    config = Config(arch="powerpc", flavour="book3s_radix", vcpus=1)
    assert broken_by(config, ops.SharePage(0, gfn=0)) == (set(), set())


@pytest.mark.reaches("refused-memory")
@pytest.mark.parametrize("name", ["killed-told-efault", "pfnmap-refused"])
def test_memory_is_refused_that_the_process_may_use(name: str) -> None:
    old, new = broken(name)
    assert "refused-memory" in old
    assert new == set()


@pytest.mark.parametrize("backing", ["hwpoison", "readonly"])
def test_what_the_process_may_not_use_is_refused_rightly(backing: Backing) -> None:
    slots = (SlotConfig(base=0, npages=4, hva=0),)
    old, new = broken_by(Config(slots=slots, backing=(backing,), vcpus=1), ops.Write(0, gfn=0, killed=True))
    assert "refused-memory" not in old | new
