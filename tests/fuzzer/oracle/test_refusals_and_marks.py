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


@pytest.mark.reaches("mark-after-put")
def test_mips_marks_a_page_that_it_has_put() -> None:
    old, new = broken("mips-marked-after-put")
    assert "mark-after-put" in old
    assert new == set()


@pytest.mark.reaches("dirty-unmapped")
def test_riscv_marks_a_page_that_it_cannot_map() -> None:
    old, new = broken("riscv-dirty-unmapped")
    assert "dirty-unmapped" in old
    assert new == set()


def test_riscv_marks_what_it_maps() -> None:
    old, _ = broken_by(Config(arch="riscv", vcpus=1), ops.Write(0, gfn=0), ops.Write(1, gfn=1))
    assert "dirty-unmapped" not in old


@pytest.mark.reaches("shared-without-page")
def test_the_ultravisor_is_given_memory_that_has_no_page() -> None:
    old, new = broken("uv-share-without-page")
    assert "shared-without-page" in old
    assert new == set()


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
