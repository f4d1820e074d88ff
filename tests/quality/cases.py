# SPDX-License-Identifier: GPL-2.0-only
"""Changes on which the tool was wrong once, as diffs: what is right is that a wrong one breaks an invariant that names
what is wrong, and that a correct one breaks none.

    python -m tests.quality.cases                      all, each for --seconds of processor time at most
    python -m tests.quality.cases late-snapshot        one of them

They stand in cases/, one a file, and in cases.yaml. Those of defects.py are planted, one a statement; each of these
stands for a kind: a step that the model took as one, a rule that no oracle asked after, an oracle that knew who may do
something and not how it has to be done.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Final

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

import click
import msgspec

from fuzzer.change.variant import changed_models
from fuzzer.program.profile import PROFILES
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.record import Record
from tests.quality.defects import broken

FOLDER: Final = Path(__file__).with_name("cases")
TABLE: Final = Path(__file__).with_name("cases.yaml")


class Case(Record, forbid_unknown_fields=True):
    """One diff. `breaks`: invariants any of which names what is wrong, none for a correct change; that may show
    `effects`, and no others. `seed`: of a program that shows what is wrong, -1 where none was found in a minute; of a
    correct change, of the first of `programs` that come by it. `base`: what both models have in any case, a diff of
    cases/bases: a feature that the model lacks."""

    name: str
    about: str
    profile: str
    seed: int = 0
    breaks: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    programs: int = 100
    base: str = ""

    @property
    def correct(self) -> bool:
        return not self.breaks

    def runner(self) -> SeedRunner:
        """Runs programs on the shipped model, or the base, and on the changed one."""
        diff = (FOLDER / f"{self.name}.patch").read_text(encoding="utf-8")
        base = (FOLDER / "bases" / f"{self.base}.patch").read_text(encoding="utf-8") if self.base else ""
        return SeedRunner(NEW, NEW, PROFILES[self.profile], changed_models(diff, base))


def cases() -> list[Case]:
    """The table."""
    return msgspec.yaml.decode(TABLE.read_bytes(), type=list[Case])


class Shown(Record):
    """What programs showed in the changed model alone: how many of them did, and the seed of the first."""

    programs: int
    invariants: dict[str, int]
    effects: dict[str, int]
    first: dict[str, int]

    def right(self, case: Case) -> bool:
        """Is that what should be shown?"""
        if case.correct:
            return not self.invariants and self.effects.keys() <= {*case.effects}
        return bool(self.invariants.keys() & {*case.breaks})


def show(case: Case, first: int, programs: int, seconds: float = 1e9) -> Shown:
    """Run programs from the seed `first` on, until one breaks what should be broken, or there were so many, or the
    time is up."""
    runner, began = case.runner(), time.process_time()
    invariants: Counter[str] = Counter()
    effects: Counter[str] = Counter()
    seeds: dict[str, int] = {}
    seed = first
    while seed < first + programs and time.process_time() - began < seconds:
        outcome = runner.run(seed).outcome
        found = broken(outcome)
        differs = {divergence.effect for divergence in outcome.divergences}
        invariants.update(found)
        effects.update(differs)
        for name in sorted(found | differs):
            seeds.setdefault(name, seed)
        seed += 1
        if found & {*case.breaks}:
            break
    return Shown(seed - first, dict(invariants), dict(effects), seeds)


def row(case: Case, shown: Shown) -> str:
    """One line of the table."""
    kind = "correct" if case.correct else "wrong"
    fate = "right" if shown.right(case) else "NOT right"
    what = [f"{name} (seed {shown.first[name]})" for name in (*shown.invariants, *shown.effects)]
    return f"| {case.name} | {kind} | {fate} | {', '.join(what)} | {case.profile} | {shown.programs} |"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seconds", default=60.0, show_default=True, help="Processor time for each, at most.")
def main(names: tuple[str, ...], seconds: float) -> None:
    """Search each case anew, from seed 0 on, and tell what it shows."""
    print("| case | is | told | shows | profile | programs |")
    print("|---|---|---|---|---|---|")
    for case in cases():
        if not names or case.name in names:
            print(row(case, show(case, 0, 1 << 30, seconds)), flush=True)


if __name__ == "__main__":
    main()
