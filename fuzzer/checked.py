# SPDX-License-Identifier: GPL-2.0-only
"""What search and proof last said of each row of the changelog, as kept in checked.json beside this file.

`python -m tests.quality.coverage` renews it. Counts are programs and cases, which are the same whenever the same model
is asked; there are no seconds in it.
"""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from reference_mmu.changelog.patches import PATCHES, Patch
from reference_mmu.record import Record

FILE: Final = Path(str(resources.files(__package__))) / "checked.json"

Outcome = Literal["exposed", "proven", "not equivalent alone", "no difference found"]
State = Literal[Outcome, "not checked yet", "not modelled yet", "missing"]
"""How a row stands. not equivalent alone: called an equivalence, and it is none without other rows; no difference
found: search was given up; not modelled yet: it has a switch that changes nothing so far; missing: it changes nothing,
and the catalogue says otherwise. A merge has nothing to change: what is proven of it is that it is its rows."""

STATES: Final[tuple[State, ...]] = get_args(State)


class Checked(Record, omit_defaults=True, forbid_unknown_fields=True):
    """What came out when a row was looked at.

    `model`       version of the model that was asked.
    `level`       function: no program can show it, so the function was asked that it changes.
    `programs`    how many were searched until one showed it, or until search was given up.
    `effects`     what that program showed; a violation in the old model by the name of its invariant.
    `cases`       inputs that a proof compared.
    `with_rows`   of what is not equivalent alone, the rows together with which it is.
    `evidence`    the story of the program, the input of the function, or the case on which both sides differ.
    `reproducer`  the program, as a file of the checkout; "" if it is not kept.
    """

    patch: str
    model: str
    outcome: Outcome
    level: Literal["system", "function"] = "system"
    programs: int = 0
    effects: tuple[str, ...] = ()
    cases: int = 0
    with_rows: tuple[str, ...] = ()
    evidence: str = ""
    reproducer: str = ""


def decode_checked(data: bytes) -> dict[str, Checked]:
    """The rows of the file, by patch. Raises msgspec.DecodeError."""
    return {row.patch: row for row in msgspec.json.decode(data, type=list[Checked])}


def encode_checked(rows: dict[str, Checked]) -> bytes:
    """The file, in the order of the catalogue; a row that is not in it any more is left out."""
    known = [rows[patch] for patch in PATCHES if patch in rows]
    return msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n"


@cache
def checked_rows() -> dict[str, Checked]:
    """What the shipped file says, by patch."""
    return decode_checked(FILE.read_bytes())


def state_of(patch: Patch, sites: int, checked: Checked | None) -> State:
    """How a row stands. `sites`: in how many places the model asks for its switch."""
    if not patch.modelled:
        return "not modelled yet"
    if not sites and patch.kind != "series":
        return "missing"
    return "not checked yet" if checked is None else checked.outcome


def told(state: State, checked: Checked | None) -> str:
    """How a row stands, in words and with its numbers."""
    if checked is None or state != checked.outcome:
        return state
    match checked.outcome:
        case "exposed" if checked.level == "function":
            return f"exposed on the function alone: {', '.join(checked.effects)}"
        case "exposed":
            return f"exposed after {counted(checked.programs, 'program')}: {', '.join(checked.effects)}"
        case "proven":
            return f"proven over {counted(checked.cases, 'case')}"
        case "not equivalent alone" if checked.with_rows:
            return f"not equivalent alone, only with {', '.join(checked.with_rows)}"
        case "not equivalent alone":
            return f"not equivalent alone: the sides differ in the last of {counted(checked.cases, 'case')}"
        case "no difference found":
            return f"no difference found in {counted(checked.programs, 'program')}"


def counted(number: int, noun: str) -> str:
    """1 program, 12 345 programs."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")
