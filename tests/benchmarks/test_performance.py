# SPDX-License-Identifier: GPL-2.0-only
"""The page is what was measured, every figure of it."""

from pathlib import Path

from benchmarks.memory import Measured, Sample
from benchmarks.performance import draw, draw_shares, page
from cli.bench import speed
from cli.bench.detection import Attempt, bug_times, overall
from cli.bench.report import BenchReport
from cli.bench.shares import shares_of

SHARES = shares_of(
    {"run": 5.0, "silent run": 3.0, "silent end": 0.5, "generation": 0.5, "comparison": 0.5}
    | {"judgement": 4.0, "storage": 1.0},
    1234,
    "mixed",
)
MEMORY = Measured("mixed", "model", (Sample(5.0, 1000, 44.0, 70.0), Sample(10.0, 2000, 45.0, 70.5)))


def report(interrupted: bool = False) -> BenchReport:
    samples = [
        speed.Sample("compiled", "mixed", 0, 1.0, 10, 10, 2000),
        speed.Sample("given", "mixed", 0, 1.0, 1, 1, 200),
    ]
    attempts = [
        Attempt("notifier-without-flush", "compiled", 0, 0.5, 10, True),
        Attempt("notifier-without-flush", "given", 0, 7.0, 10, False),
    ]
    bugs = tuple(bug_times(attempts, "compiled"))
    return BenchReport(
        core="compiled",
        first="compiled",
        workload="mixed",
        seed=0,
        seconds=1.0,
        limit=7.0,
        seeds=1,
        arms={"compiled": "this", "given": "that"},
        speed=tuple(speed.speeds(samples, "compiled")),
        bugs=bugs,
        overall=tuple(overall(bugs, {"given": ("given",)})),
        against=(),
        against_programs=500,
        shares=None,
        missing=(),
        interrupted=interrupted,
    )


def test_the_page_has_what_was_measured() -> None:
    text = page(report(), SHARES, MEMORY, "another checkout")
    assert "| given | 200 | 1 | 1 | 0.10 (0.10 to 0.10) |" in text
    assert "| notifier-without-flush | 0.5 (1) | ≥ 7 (0) |" in text
    assert "given: 14 times the time of compiled, geometric mean over 1 bugs, 1 of them lower bounds" in text
    assert "| judgement | 40.0 |" in text
    assert "2000 programs of mixed in 0.2 minutes" in text
    assert "search process  45 MiB at most, +1.0 MiB in the second half" in text
    assert "interrupted" not in text


def test_the_page_says_if_not_everything_was_measured() -> None:
    assert "The run was interrupted" in page(report(interrupted=True), SHARES, MEMORY, "another checkout")


def test_the_picture_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        draw(report(), tmp_path / name)
    text = (tmp_path / "one.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "other.svg").read_text(encoding="utf-8")
    assert "notifier-without-flush" in text
    draw_shares(SHARES, tmp_path / "shares.svg")
    assert "40.0 %" in (tmp_path / "shares.svg").read_text(encoding="utf-8")
    assert "<dc:date>" not in text
