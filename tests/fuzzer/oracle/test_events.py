# SPDX-License-Identifier: GPL-2.0-only
"""No event goes astray: the model tells of each, and the judge hands each on."""

import ast
import inspect
from pathlib import Path
from typing import get_args

import reference_mmu
from fuzzer.oracle.invariants import INVARIANTS, Invariant
from fuzzer.oracle.judge import Judge
from fuzzer.oracle.reports import Fact
from fuzzer.oracle.x86_judge import X86Judge
from reference_mmu.changelog.effects import EFFECTS
from reference_mmu.oracle import Oracle
from tests.reached import AWAITED

MODEL = Path(reference_mmu.__file__).parent
ORACLES = Path(inspect.getfile(Judge)).parent

# Those that no oracle needs. Who adds an event hands it on in Judge (or X86Judge), or writes here why not.
IGNORED: dict[str, str] = {}


def events() -> set[str]:
    return {name for name, value in vars(Oracle).items() if inspect.isfunction(value)}


def handed_on() -> set[str]:
    return {name for judge in (Judge, X86Judge) for name in vars(judge)} & events()


def told() -> set[str]:
    """Every NAME of `….oracle.NAME(…)` in the model."""
    found = set()
    for file in MODEL.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Attribute(attr="oracle") | ast.Name(id="oracle"), attr=name)
                ):
                    found.add(name)
    return found


def test_the_judge_hands_on_or_expressly_ignores_every_event() -> None:
    lost = events() - handed_on() - IGNORED.keys()
    assert not lost, f"Judge forgets {', '.join(sorted(lost))}: hand it on, or say in IGNORED why not"
    assert IGNORED.keys() <= events() - handed_on()


def test_the_model_tells_of_every_event() -> None:
    assert told() == events()


def test_every_invariant_has_a_sentence_and_is_reported_somewhere() -> None:
    assert set(INVARIANTS) == set(get_args(Invariant))
    texts = [file.read_text(encoding="utf-8") for file in (*ORACLES.glob("*.py"), *ORACLES.parent.glob("run/*.py"))]
    code = "\n".join(text for text in texts if "INVARIANTS: Final" not in text)
    assert {name for name in INVARIANTS if f'"{name}"' not in code} == AWAITED.keys()


def test_a_fact_is_an_effect() -> None:
    assert set(get_args(Fact)) <= EFFECTS.keys()
