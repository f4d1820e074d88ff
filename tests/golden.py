# SPDX-License-Identifier: GPL-2.0-only
"""The golden programs as reproducers that this version of the model replays exactly."""

from functools import cache
from pathlib import Path
from typing import Final

from fuzzer.reproducer import Reproducer, decode_reproducer, make_reproducer

FOLDER: Final = Path(__file__).parent / "programs"
NAMES: Final = sorted(file.stem for file in FOLDER.glob("*.json"))


@cache
def golden(name: str) -> Reproducer:
    """The reproducer FOLDER/NAME.json, its trace as it is now."""
    old = decode_reproducer((FOLDER / f"{name}.json").read_bytes())
    return make_reproducer(old.comparison(), old.scenario(), old.run(), old.finding, True)
