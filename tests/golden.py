# SPDX-License-Identifier: GPL-2.0-only
"""The golden programs as reproducers that this version of the model replays exactly."""

from functools import cache
from pathlib import Path
from typing import Final

from fuzzer.judge.finding import Finding
from fuzzer.judge.verdict import Trial
from fuzzer.reproducer import Reproducer, decode_reproducer, make_reproducer
from fuzzer.run.compare import by_switches

FOLDER: Final = Path(__file__).parent / "programs"
NAMES: Final = sorted(file.stem for file in FOLDER.glob("*.json"))


@cache
def golden(name: str) -> Reproducer:
    """The reproducer FOLDER/NAME.json, its trace as it is now."""
    old = decode_reproducer((FOLDER / f"{name}.json").read_bytes())
    return make_reproducer(old.comparison(), old.scenario(), old.run(), old.finding, True)


def judged_anew(reproducer: Reproducer) -> Finding:
    """The finding as this version of the project judges it, neighbours and attribution included."""
    comparison = reproducer.comparison()
    drive = by_switches(reproducer.scenario().switches)
    outcome = comparison.run(reproducer.program, drive)
    trial = Trial(comparison, drive, outcome)
    if reproducer.finding.kind == "violation":
        return trial.violation(reproducer.finding.what)
    (divergence,) = [d for d in outcome.divergences if d.effect == reproducer.finding.what]
    return trial.divergence(divergence)
