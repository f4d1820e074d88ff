# SPDX-License-Identifier: GPL-2.0-only
"""Which invariants, effects and outcomes of faults a test shows: what the mark `reaches` promises, and what is kept."""

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from fuzzer.oracle.invariants import INVARIANTS, Invariant
from fuzzer.oracle.reports import Reports
from fuzzer.run.differential import divergences
from fuzzer.run.divergence import Divergence
from fuzzer.run.lockstep import Pair
from reference_mmu.changelog.effects import EFFECTS, OUTCOMES
from reference_mmu.observed import EV_PF, PF_READ_ONLY, Observed

TESTS: Final = Path(__file__).parent
MARK: Final = "reaches"

REACHABLE: Final = frozenset({*INVARIANTS, *EFFECTS, *OUTCOMES[1:]})
"""Every name that a test may reach; that a guest access takes no fault, OUTCOMES[0], is no event."""


AWAITED: Final[dict[Invariant, str]] = {}
"""Invariants that nothing reports yet, and why; who makes an oracle report one takes it out of here."""


@contextmanager
def recorded() -> Iterator[set[str]]:
    """Every name that is reported meanwhile, in this process. Interpreted only: native classes cannot be watched."""
    seen: set[str] = set()
    report, record = Reports.report, Observed.record

    def reported(self: Reports, invariant: Invariant, detail: str = "") -> None:
        seen.add(invariant)
        report(self, invariant, detail)

    def happened(self: Observed, uid: int, kind: int, value: int) -> None:
        if kind == EV_PF:
            seen.add(OUTCOMES[value & (PF_READ_ONLY - 1)])
        record(self, uid, kind, value)

    def compared(pair: Pair, old_leads: bool) -> list[Divergence]:
        found = divergences(pair, old_leads)
        seen.update(divergence.effect for divergence in found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reports, "report", reported)
        patch.setattr(Observed, "record", happened)
        patch.setattr("fuzzer.run.outcome.divergences", compared)
        yield seen


def promised() -> dict[str, list[str]]:
    """Name -> the files in which a mark promises it."""
    places: dict[str, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        if f"mark.{MARK}(" in text:
            for name in names_in(ast.parse(text)):
                places.setdefault(name, []).append(file.relative_to(TESTS).as_posix())
    return places


def names_in(tree: ast.AST) -> Iterator[str]:
    """What the marks of a file name; they are written out, so that reading is enough to know them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == MARK:
            yield from (ast.literal_eval(argument) for argument in node.args)
