# SPDX-License-Identifier: GPL-2.0-only
"""Lockstep, oracles, minimizer, story and picture on architectures that have nothing of x86."""

from collections.abc import Iterator

import msgspec
import pytest

from fuzzer.minimize.minimize import Minimizer
from fuzzer.program.ops import (
    ClearFlushYoung,
    ClearYoung,
    DeleteSlot,
    EnableLog,
    GetLog,
    Migrate,
    NumaHint,
    Read,
    Reclaim,
    Write,
)
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import encode_reproducer
from fuzzer.run.compare import Comparison, Models, by_scheduler
from fuzzer.run.model import SHIPPED
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedulers import STRATEGIES
from fuzzer.tell.film import film
from fuzzer.tell.story import tell
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import NEW, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config, ConfigError
from tests.broken_machines import BROKEN
from tests.golden import golden
from tests.tiny_architecture import NAME, TinyArchitecture, tiny_config

PROGRAM = Program(
    tiny_config(),
    (
        Actor("vcpu", (Write(0, 1), Read(1, 3), Write(2, 1), Write(3, 5))),
        Actor("vcpu", (Read(4, 1), Write(5, 3), Read(6, 5), Write(7, 1))),
        Actor(
            "mm", (NumaHint(8, 1, 2), ClearYoung(9, 0, 4), Reclaim(10, 1), Migrate(11, 3), ClearFlushYoung(12, 0, 4))
        ),
        Actor("ioctl", (EnableLog(13, 0), GetLog(14, 0), DeleteSlot(15, 0))),
    ),
)
SEEDS = range(120)
OTHERS = [name for name in ARCHITECTURES if name != "x86"]
STAGE2 = [name for name in OTHERS if name != "s390"]  # which leaves flushes to the process


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, NAME, TinyArchitecture())


def program_of(arch: str) -> Program:
    """The same on a machine of an architecture, of the usual geometry."""
    return PROGRAM if arch == NAME else Program(Config(arch=arch, eager_split=False), PROGRAM.actors)


def outcomes(comparison: Comparison, program: Program = PROGRAM) -> Iterator[Outcome]:
    for seed in SEEDS:
        drive = by_scheduler(STRATEGIES[seed % len(STRATEGIES)], seed)
        yield comparison.run(program, drive)


@pytest.mark.parametrize("leader", ["old", "new"])
def test_two_that_are_alike_differ_in_nothing_and_break_nothing(leader: str) -> None:
    """OLD and NEW differ in patches of x86 and in one of the notifier, which elides a flush."""
    for outcome in outcomes(Comparison(OLD, OLD, "old" if leader == "old" else "new")):
        assert outcome.violations("old") == outcome.violations("new") == {}
        assert outcome.divergences == []
        assert not outcome.pair.truncated


def test_a_patch_of_common_code_shows_there_too() -> None:
    effects = {d.effect for outcome in outcomes(Comparison(OLD, NEW, "old")) for d in outcome.divergences}
    assert "fewer-flushes" in effects


@pytest.mark.parametrize("arch", OTHERS)
@pytest.mark.parametrize("base", ["old", "new"])
def test_placebos_change_nothing(arch: str, base: str) -> None:
    """Two that are alike but for points, which one of them alone has: they take the same way."""
    placebo = parse_semantics(f"{base}+placebo-points")
    for outcome in outcomes(Comparison(parse_semantics(base), placebo, "old"), program_of(arch)):
        assert outcome.violations("old").keys() == outcome.violations("new").keys()
        assert outcome.divergences == []
        assert outcome.pair.drift_turn == -1


# What the kernels of today still do: HV mode of powerpc marks pages dirty when mmu_lock is released. On LoongArch and
# MIPS a read that may not write replaces an entry by which another CPU may write, and flushes its own.
# RISC-V marks a page dirty that turned out stale, and ages one leaf of a range.
RESIDUALS = {
    "powerpc": {"dirty-after-clean"},
    "riscv": {"dirty-after-clean", "dirty-unmapped", "stale-fault-marks-dirty", "unreported-young"},
    "loongarch": {"stale-writable-mmuw"},
    "mips": {"stale-writable-mmuw"},
}


@pytest.mark.parametrize("arch", OTHERS)
def test_a_kernel_of_today_breaks_nothing(arch: str) -> None:
    broken = {name for o in outcomes(Comparison(NEW, NEW, "old"), program_of(arch)) for name in o.violations("new")}
    assert broken == RESIDUALS.get(arch, set())


@pytest.mark.parametrize("arch", [NAME, *STAGE2])
def test_a_missing_flush_is_found_shrunk_and_told(arch: str) -> None:
    """Of 120 schedules dozens show it."""
    comparison = Comparison(NEW, NEW, "old", Models(SHIPPED, BROKEN[arch]))
    program = program_of(arch)
    outcome = next(o for o in outcomes(comparison, program) if "stale-translation" in o.violations("new"))
    assert "stale-translation" not in outcome.violations("old")

    def shows(seen: Outcome, _replay: object) -> bool:
        return "stale-translation" in seen.violations("new")

    result = Minimizer(comparison, shows).minimize(program, outcome.turns)
    assert result is not None
    assert result.scenario.program.operations() <= 3
    told = tell(comparison, result.scenario)
    said = " ".join(word for row in told.rows for word in (*row.new.seen, *row.new.broken))
    assert "stale-translation: " in said
    assert "SPTE gfn " in said
    assert "pfn " in said
    places = {change.group for frame in film(comparison, result.scenario) for change in frame.new}
    assert {"SPTE", "host PTE"} <= places


def test_an_architecture_that_is_not_there_is_refused() -> None:
    strange = msgspec.structs.replace(PROGRAM, config=msgspec.structs.replace(PROGRAM.config, arch="vax"))
    with pytest.raises(ConfigError, match="'vax' is none of x86, arm64, powerpc, riscv, loongarch, mips, s390, tiny"):
        strange.check()


def test_a_program_of_x86_need_not_say_so() -> None:
    reproducer = golden("bug-219588")
    assert b'"arch"' not in encode_reproducer(reproducer)
    assert PROGRAM.check().config.architecture == NAME
