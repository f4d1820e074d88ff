# SPDX-License-Identifier: GPL-2.0-only
"""What a search shows while it runs, and at its end."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from cli.document import Document
from cli.progress import Budget, LiveProgress, PlainProgress, eta_words, make_progress, rate_words
from cli.summary import first_reproducer, replay_command, summary_lines
from cli.tally import Tallied, Tally
from fuzzer.judge.finding import Finding, Verdict


class Counted(Tally):
    """A tally with given numbers."""

    def __init__(self, programs: int = 0, findings: dict[str, Tallied] | None = None) -> None:
        self.programs = programs
        self.steps = programs * 100
        self.coverage = {1, 2, 3}
        self.findings = findings or {}


def divergence(effect: str, patch: str, verdict: Verdict = Verdict.DOCUMENTED) -> Tallied:
    finding = Finding(
        "divergence", effect, (effect,), "both", "old", (patch,), "sufficient", verdict, ("read", "-"), "differs"
    )
    return Tallied(finding, 1, 0, Path(f"{effect}.json"), 2, 0, 100)


def violation(invariant: str, patches: tuple[str, ...], verdict: Verdict) -> Tallied:
    finding = Finding(
        "violation", invariant, (), "old", "old", patches, "none", verdict, ("a", "b"), f"{invariant} broke"
    )
    return Tallied(finding, 1, 0, Path(f"{invariant}.json"), 2, 0, 100)


def test_budget() -> None:
    seconds, programs = Budget(60, 0), Budget(60, 200)
    assert (seconds.fraction(15.0, 7), programs.fraction(15.0, 50)) == (0.25, 0.25)
    assert (seconds.seconds_left(70.0, 7), programs.seconds_left(10.0, 50)) == (0.0, 30.0)
    assert programs.seconds_left(10.0, 0) is None
    assert eta_words(programs, Counted(), 10.0) == "ETA unknown"
    assert eta_words(Budget(4000, 0), Counted(), 10.0) == "ETA 1:06:30"


def test_rates() -> None:
    assert rate_words(Counted(1234), 2.0) == "1 234 programs (617.0/s), 123 400 steps (61 700/s), coverage 3"


def test_a_log_gets_a_line_at_once_and_then_now_and_then() -> None:
    out = io.StringIO()
    progress = make_progress(Console(file=out, width=200), Budget(60, 0))
    assert isinstance(progress, PlainProgress)
    with progress:
        for programs, elapsed in ((0, 0.2), (1, 0.5), (2, 3.0), (3, 5.6), (4, 6.0)):
            progress.show(Counted(programs), elapsed)
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["1", "3"]


def test_a_terminal_gets_a_bar() -> None:
    out = io.StringIO()
    progress = make_progress(Console(file=out, width=100, force_terminal=True), Budget(60, 0))
    assert isinstance(progress, LiveProgress)
    with progress:
        progress.show(Counted(5), 30.0)
        progress.say("fixed: something")
    drawn = out.getvalue()
    assert all(text in drawn for text in ("50%", "ETA 0:00:30", "5 programs", "findings: none", "fixed: something"))


def test_summary_groups_by_patch_with_the_most_interesting_first() -> None:
    findings = [
        divergence("young-false-negative", "age-elides-tlb-flush"),
        divergence("raw-dirty-bit", "always-dirty-if-writable"),
        divergence("fewer-flushes", "age-elides-tlb-flush"),
        violation("lost-write", (), Verdict.BASELINE),
        violation("stale-writable-mmuw", ("tdp-fault-warn-flush-mmuw",), Verdict.FIXED),
        divergence("read-differs", "age-elides-tlb-flush", Verdict.REGRESSION),
    ]
    tally = Counted(1, {str(index): tallied for index, tallied in enumerate(findings)})
    assert summary_lines(tally) == [
        "age-elides-tlb-flush: regression (read-differs)",
        "tdp-fault-warn-flush-mmuw: fixed: stale-writable-mmuw broke",
        "no patch: baseline: lost-write broke",
        "always-dirty-if-writable: documented (raw-dirty-bit)",
        "age-elides-tlb-flush: documented (fewer-flushes, young-false-negative)",
    ]
    assert first_reproducer(tally) == Path("read-differs.json")


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        (".venv/bin/mmufuzz", ".venv/bin/mmufuzz replay 'findings/a b.json'"),
        ("cli.py", "mmufuzz replay 'findings/a b.json'"),
    ],
)
def test_replay_command_can_be_typed_as_it_is(called: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called, "run"])
    assert replay_command(Path("findings/a b.json")) == shown


def test_a_pipe_gets_lines_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    Document(None).console().print("x" * 500)
    assert capsys.readouterr().out == "x" * 500 + "\n"
