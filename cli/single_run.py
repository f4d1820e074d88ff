# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz replay` of what no reproducer records: a bare program, or the program that a search draws for a seed."""

from collections.abc import Iterator
from typing import Final

import msgspec

from cli.document import Document
from cli.parameters import require_superset
from cli.tally import FAILURES
from cli.telling import print_columns
from cli.watchdog import watchdog
from fuzzer.judge.finding import Finding
from fuzzer.one_run import OneRun, run_once
from fuzzer.program.generate import generate_script
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Program
from fuzzer.run.compare import Comparison, by_seed, by_switches, leader_of
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy
from fuzzer.tell.story import Row, first_difference
from fuzzer.tell.two_columns import finding_lines, run_lines
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.record import Record
from reference_mmu.version import model_version
from workers.refusal import BadInput

_DEFAULT_PROFILE: Final = "mixed"
_NOBODY_PREEMPTED: Final = "nobody is preempted: each runs until done or waiting, then the next"


class Asked(Record):
    """What the command line says beside the file, None where it says nothing."""

    seed: int | None
    profile: str | None
    old: Semantics | None
    new: Semantics | None
    strategies: tuple[str, ...] | None

    def options(self) -> list[str]:
        """Names of the options that were given."""
        values = {
            "--seed": self.seed,
            "--profile": self.profile,
            "--old": self.old,
            "--new": self.new,
            "--strategy": self.strategies,
        }
        return [name for name, value in values.items() if value is not None]


class SingleRunReport(Record):
    """The JSON of a `replay` without a reproducer. `file` is null if the program was drawn, `profile` if it was not;
    `seed` and `strategy` are null if nobody was preempted; `first_difference` is as in a ReplayReport."""

    file: str | None
    profile: str | None
    seed: int | None
    strategy: str | None
    old: str
    new: str
    leader: str
    model: str
    program: Program
    findings: tuple[Finding, ...]
    first_difference: int
    rows: tuple[Row, ...]


def tell_program(file: str, program: Program, asked: Asked, document: Document) -> int:
    """Tell the run of a bare program; returns the exit code. Raises BadInput."""
    if asked.profile is not None:
        raise BadInput(f"--profile says how to draw a program, and {file} is one; leave it out")
    if asked.strategies is not None and asked.seed is None:
        asked = msgspec.structs.replace(asked, seed=0)
    return _tell(file, program, asked, document)


def tell_seed(asked: Asked, document: Document) -> int:
    """Tell what the program of a seed does, drawn and interleaved as `mmufuzz run` does it; returns the exit code.
    Raises BadInput."""
    if asked.seed is None:
        raise BadInput("name a FILE, or a program by --seed; see 'mmufuzz replay --help'")
    profile = asked.profile or _DEFAULT_PROFILE
    program = generate_script(asked.seed, PROFILES[profile]).program()
    return _tell(None, program, msgspec.structs.replace(asked, profile=profile), document)


def _tell(file: str | None, program: Program, asked: Asked, document: Document) -> int:
    old, new = asked.old or OLD, asked.new or NEW
    require_superset(old, new)
    strategies = asked.strategies or STRATEGIES
    if asked.seed is None:
        comparison, drive = Comparison(old, new, "old"), by_switches(())
        strategy, interleaving = None, _NOBODY_PREEMPTED
    else:
        comparison, drive = Comparison(old, new, leader_of(asked.seed)), by_seed(asked.seed, strategies)
        strategy = draw_strategy(asked.seed, strategies)
        drawn = "" if asked.profile is None else f" (program {asked.seed} of the profile {asked.profile})"
        interleaving = f"{strategy}, seed {asked.seed}{drawn}"
    with watchdog():
        run = run_once(comparison, program, drive)
    console = document.console()
    print_columns(console, run_lines(comparison, program, interleaving), run.rows)
    console.print()
    for line in shown_lines(run):
        console.print(line)
    if file is not None and not run.findings and not asked.options():
        console.print(f"another interleaving:  mmufuzz replay {file} --seed 1")
    document.write(
        SingleRunReport(
            file=file,
            profile=asked.profile,
            seed=asked.seed,
            strategy=strategy,
            old=old.spec(),
            new=new.spec(),
            leader=comparison.leader,
            model=model_version(),
            program=program,
            findings=run.findings,
            first_difference=first_difference(run.rows),
            rows=tuple(run.rows),
        )
    )
    return int(any(finding.verdict in FAILURES for finding in run.findings))


def shown_lines(run: OneRun) -> Iterator[str]:
    """What the run shows, each finding as a reproducer would have it at its head."""
    if not run.findings:
        yield "nothing found: both did the same, as far as anybody can see, and no invariant broke"
    for finding in run.findings:
        yield from finding_lines(finding)
