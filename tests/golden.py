# SPDX-License-Identifier: GPL-2.0-only
"""The golden programs as reproducers that this version of the model replays exactly."""

from functools import cache
from pathlib import Path
from typing import Final

from fuzzer.judge.finding import Finding
from fuzzer.reproducer import Reproducer, decode_reproducer, make_reproducer
from tests.trials import only_divergence, replayed

FOLDER: Final = Path(__file__).parent / "programs"
NAMES: Final = sorted(file.stem for file in FOLDER.glob("*.json"))


def stored(name: str) -> Reproducer:
    """The reproducer FOLDER/NAME.json."""
    return decode_reproducer((FOLDER / f"{name}.json").read_bytes())


@cache
def golden(name: str) -> Reproducer:
    """The same, its trace as it is now."""
    old = stored(name)
    return make_reproducer(old.comparison(), old.scenario(), old.run(), old.finding, True)


def judged_anew(reproducer: Reproducer) -> Finding:
    """The finding as this version of the project judges it, neighbours and attribution included."""
    trial = replayed(reproducer)
    if reproducer.finding.kind == "violation":
        return trial.violation(reproducer.finding.what)
    return only_divergence(trial, reproducer.finding.what)
