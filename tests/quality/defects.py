# SPDX-License-Identifier: GPL-2.0-only
"""Defects that somebody could plant in any room of the model, as the diffs that plant them: does a search find each by
the invariant that it breaks, and does it leave harmless changes of the same lines alone?

    python -m tests.quality.defects                      all, each until it is found, or for --seconds of processor time
    python -m tests.quality.defects uvmem-page-leaks     one of them

They stand in defects/, one a file, and in defects.yaml, which says what is wrong with each. A *twin* changes the same
statements in a way that is legal; it must break nothing. Programs are drawn as `mmufuzz run --apply` draws them, from
seed 0 on, so that the seed in the table is that of the first program that shows the defect.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

import click
import msgspec

from fuzzer.change.variant import load_variant
from fuzzer.program.blend import member, profile_named
from fuzzer.program.profile import PROFILES
from fuzzer.reach import reach_of
from fuzzer.run.compare import Models
from fuzzer.run.outcome import Outcome
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.record import Record
from tests.changes import shipped_source

FOLDER: Final = Path(__file__).with_name("defects")
TABLE: Final = Path(__file__).with_name("defects.yaml")


class Outdated(ValueError):
    """A diff that no longer applies; the message is one line."""


class Defect(Record, forbid_unknown_fields=True):
    """One diff. `breaks`: invariants any of which names what is wrong, none for a twin. `profile` and `seed` are of a
    program that shows it, or, of a twin, of one that comes by."""

    name: str
    about: str
    profile: str
    seed: int
    breaks: tuple[str, ...] = ()

    def diff(self) -> str:
        return (FOLDER / f"{self.name}.patch").read_text(encoding="utf-8")

    def sources(self) -> dict[str, str]:
        """The module with the defect. Raises Outdated."""
        diff = self.diff()
        (file,) = re.findall(r"^\+\+\+ b/reference_mmu/(\S+)$", diff, re.MULTILINE)
        text = shipped_source(file)
        for hunk in re.split(r"^@@ .*\n", diff, flags=re.MULTILINE)[1:]:
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if not line.startswith("+"))
            if text.count(before) != 1:
                raise Outdated(f"{self.name}: {file} has changed where the diff is; make it anew")
            text = text.replace(before, "".join(line[1:] for line in lines if not line.startswith("-")))
        return {file: text}

    def models(self) -> Models:
        return Models(new=load_variant(self.sources()))

    def shown(self) -> set[str]:
        """What its program breaks with it, and not without it."""
        runner = SeedRunner(NEW, NEW, PROFILES[self.profile], self.models())
        return broken(runner.run(self.seed).outcome)


def defects() -> list[Defect]:
    """The table."""
    return msgspec.yaml.decode(TABLE.read_bytes(), type=list[Defect])


def broken(outcome: Outcome) -> set[str]:
    """The invariants that NEW alone breaks."""
    return set(outcome.violations("new")) - set(outcome.violations("old"))


class Searched(Record):
    """How a search went. `found`: what the first program that shows anything broke; `effects`: what merely differed."""

    programs: int
    seconds: float
    profile: str
    seed: int
    found: tuple[str, ...]
    effects: tuple[str, ...]

    def told(self, defect: Defect) -> str:
        """One line of the table."""
        right = bool({*self.found} & {*defect.breaks})
        fate = "found" if right else "found by another" if self.found else "differs" if self.effects else "nothing"
        what = ", ".join(self.found or self.effects)
        where = f"{self.profile}, seed {self.seed}" if self.found else "-"
        return f"| {defect.name} | {fate} | {what} | {where} | {self.programs} | {self.seconds:.1f} |"


def search(defect: Defect, seconds: float) -> Searched:
    """Until something breaks in NEW alone, and of what is expected, if it is a defect; or the time is over."""
    profile = profile_named(reach_of(NEW, NEW, defect.sources()).profile)
    runner, begun = SeedRunner(NEW, NEW, profile, defect.models()), time.process_time()
    effects: set[str] = set()
    other: set[str] = set()
    seed = 0
    while (spent := time.process_time() - begun) < seconds:
        outcome = runner.run(seed).outcome
        found = broken(outcome)
        effects.update(divergence.effect for divergence in outcome.divergences)
        seed += 1
        other |= found
        if found & {*defect.breaks}:
            return Searched(seed, spent, member(seed - 1, profile).name, seed - 1, tuple(sorted(found)), ())
    return Searched(seed, spent, profile.name, 0, tuple(sorted(other)), tuple(sorted(effects)))


@click.command()
@click.argument("names", nargs=-1)
@click.option("--seconds", default=20.0, show_default=True, help="Processor time for each, at most.")
def main(names: tuple[str, ...], seconds: float) -> None:
    """Search for each defect, and tell what was found of it."""
    print("| defect | fate | what | where | programs | s |")
    print("|---|---|---|---|---|---|")
    for defect in defects():
        if not names or defect.name in names:
            print(search(defect, seconds).told(defect), flush=True)


if __name__ == "__main__":
    main()
