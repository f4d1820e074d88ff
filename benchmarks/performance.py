# SPDX-License-Identifier: GPL-2.0-only
"""docs/performance.md and its picture, made from what `mmufuzz bench` measured; no figure in them is typed by hand.

mmufuzz bench --seeds 30 --limit 10 --repetitions 9 --json bench.json
mmufuzz bench --profile --programs 20000 --json profile.json
.venv/bin/python -m benchmarks.memory --seconds 3600 --json memory.json --svg docs/images/memory.svg
.venv/bin/python -m benchmarks.performance bench.json profile.json memory.json

With `--against DIR` the first one compares with another checkout, too, and `--before` says here which that was.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.memory import Measured
from cli.bench.detection import BugTimes
from cli.bench.report import BenchReport, overall_lines, ratio_words
from cli.bench.shares import Shares
from cli.progress import spaced

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
PAGE: Final = "performance.md"
PICTURE: Final = "images/performance.svg"
SHARES_PICTURE: Final = "images/shares.svg"
MEMORY_PICTURE: Final = "images/memory.svg"  # drawn by benchmarks.memory


@click.command()
@click.argument("measured", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("profile", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("memory", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--before", default="another checkout", help="What was compared with by --against.")
@click.option("--docs", type=click.Path(exists=True, file_okay=False, path_type=Path), default=DOCS)
def main(measured: Path, profile: Path, memory: Path, before: str, docs: Path) -> None:
    """Write the page from the JSON of `mmufuzz bench`, of `mmufuzz bench --profile`, and of benchmarks.memory."""
    report = msgspec.json.decode(measured.read_bytes(), type=BenchReport)
    shares = msgspec.json.decode(profile.read_bytes(), type=BenchReport).shares
    if shares is None:
        raise click.UsageError(f"{profile} has no shares; it is made by 'mmufuzz bench --profile --json {profile}'")
    remembered = msgspec.json.decode(memory.read_bytes(), type=Measured)
    (docs / PAGE).write_text(page(report, shares, remembered, before), encoding="utf-8")
    draw(report, docs / PICTURE)
    draw_shares(shares, docs / SHARES_PICTURE)


def page(report: BenchReport, shares: Shares, memory: Measured, before: str) -> str:
    """The text of docs/performance.md."""
    return "\n".join(lines(report, shares, memory, before)) + "\n"


def lines(report: BenchReport, shares: Shares, memory: Measured, before: str) -> Iterator[str]:
    yield from INTRODUCTION.format(workload=report.workload).splitlines()
    yield from speed_lines(report)
    yield from detection_lines(report)
    if report.against:
        yield from against_lines(report, before)
    yield from shares_lines(shares)
    yield from memory_lines(memory)
    yield from MADE.format(
        seeds=report.seeds,
        limit=f"{report.limit:g}",
        repetitions=max((speed.samples for speed in report.speed), default=0),
        seconds=f"{report.seconds:g}",
        programs=shares.programs,
        interrupted="\n\nThe run was interrupted: not everything was measured." if report.interrupted else "",
    ).splitlines()


INTRODUCTION: Final = """\
# How fast it is, and how soon it finds

Made by `mmufuzz bench`, all in one run on one core, arms taking turns. Seconds are of processor time. Machines differ
and so do their moods: figures per second are those of one machine on one day, and only ratios are worth comparing.
What made it fast, and what did not, is in [decisions/0016](decisions/0016-what-made-it-fast.md).
Ratios are medians of paired repetitions, with the lowest and the highest. Programs are of profile {workload}.

Every arm runs the same models in the same lockstep under the same oracles, and the same lines of code count what it
does and decide whether it has found something (`cli/bench/runner.py`). What differs is who makes programs and
interleavings:

"""

MADE: Final = """
## Made anew

```
mmufuzz bench --seeds {seeds} --limit {limit} --repetitions {repetitions} --seconds {seconds} --json bench.json
mmufuzz bench --profile --programs {programs} --json profile.json
.venv/bin/python -m benchmarks.memory --seconds 3600 --json memory.json --svg docs/images/memory.svg
.venv/bin/python -m benchmarks.performance bench.json profile.json memory.json
```

`python -m benchmarks.checkouts . ../before` compares two checkouts, `python -m benchmarks.digests . ../before` says
whether they still show the same.{interrupted}
"""

DETECTION: Final = """
## Until a bug is found

![Seconds of processor time until each planted bug is found, by arm](images/performance.svg)

Ten bugs (`cli/bench/bugs.py`) are planted in NEW, each by itself: kernel bug 219588, which OLD has anyway, and nine
mutants. Found is the first run in which one side breaks an invariant that the other one keeps. Nothing is judged or
shrunk, by any arm. There are {seeds} searches of each arm for each bug, from other seeds each, cut off after {limit} s.
The mean is all the time spent over the number of searches that found, so that one that was cut off counts with its time
and as no detection. Where no search found anything there is a lower bound, marked ≥.
"""


def speed_lines(report: BenchReport) -> Iterator[str]:
    yield from (f"- **{speed.name}**: {report.arms[speed.name]}" for speed in report.speed)
    yield from ("", "A pair is a program that both models ended, so that they were judged and compared.", "")
    yield f"| arm | steps/s | programs/s | pairs/s | steps, of {report.first}'s |"
    yield "|---|---:|---:|---:|---:|"
    for speed in report.speed:
        rates = speed.steps_per_second, speed.programs_per_second, speed.pairs_per_second
        cells = " | ".join(spaced(round(rate.median)) for rate in rates)
        yield f"| {speed.name} | {cells} | {ratio_words(speed.ratio)} |"


def detection_lines(report: BenchReport) -> Iterator[str]:
    yield from DETECTION.format(seeds=report.seeds, limit=f"{report.limit:g}").splitlines()
    yield ""
    names = names_of(report.bugs)
    yield f"| mean seconds, found of {report.seeds} | {' | '.join(names)} |"
    yield "|---|" + "---:|" * len(names)
    for bug in report.bugs:
        yield f"| {bug.bug} | {' | '.join(cells_of(bug, names))} |"
    yield ""
    yield f"Times the time of {report.first}:"
    yield ""
    yield from (f"- {line}" for line in overall_lines(report.overall, report.first))
    yield ""
    yield from (f"- `{bug.bug}`: {bug.about} ({bug.origin})" for bug in report.bugs)


def cells_of(bug: BugTimes, names: list[str]) -> Iterator[str]:
    by_name = {arm.name: arm.time for arm in bug.arms}
    for name in names:
        time = by_name.get(name)
        bound = "≥ " if time and time.at_least else ""
        yield "" if time is None else f"{bound}{time.mean:.3g} ({time.events})"


def names_of(bugs: tuple[BugTimes, ...]) -> list[str]:
    """Every arm that searched."""
    return list(dict.fromkeys(arm.name for bug in bugs for arm in bug.arms))


def against_lines(report: BenchReport, before: str) -> Iterator[str]:
    yield from ("", f"## Against {before}", "", "The same programs in both, taking turns on one core.", "")
    yield "| profile | programs/s | steps/s, of the other's |"
    yield "|---|---:|---:|"
    for speed in report.against:
        rate = spaced(round(speed.programs_per_second.median))
        yield f"| {speed.workload} | {rate} | {speed.ratio.words()} |"


def shares_lines(shares: Shares) -> Iterator[str]:
    yield from ("", "## Where the time goes", "")
    programs = f"{spaced(shares.programs)} programs of profile {shares.workload}"
    yield f"Of a search over {programs} that knows nothing before, {shares.seconds:.1f} s:"
    yield from (
        "",
        f"![Shares of the stages]({SHARES_PICTURE})",
        "",
        "| stage | percent | what is done |",
        "|---|---:|---|",
    )
    for share in shares.shares:
        yield f"| {share.stage} | {share.percent:.1f} | {share.about} |"
    yield ""
    yield "Judgement is for what is new, so its share falls with every program."


def memory_lines(memory: Measured) -> Iterator[str]:
    yield from ("", "## Memory", "", f"![Memory of a search and of its parent over time]({MEMORY_PICTURE})", "")
    yield from (f"- {line}" for line in memory.lines())


def draw(report: BenchReport, file: Path) -> None:
    """The mean time to each bug by arm, the quickest on top."""
    names = names_of(report.bugs)
    bugs = sorted(report.bugs, key=lambda bug: -bug.arms[0].time.mean)
    with drawing(file, (8, 4.5)) as axes:
        for number, name in enumerate(names):
            times = [(place, arm.time) for place, bug in enumerate(bugs) for arm in bug.arms if arm.name == name]
            for marker, label, bound in (("o", name, False), (">", None, True)):
                shown = [(time.mean, place) for place, time in times if time.at_least is bound]
                means, places = [mean for mean, _ in shown], [place for _, place in shown]
                axes.plot(means, places, marker, label=label, color=f"C{number}", alpha=0.8)
        axes.set_xscale("log")
        axes.set_yticks(range(len(bugs)), [bug.bug for bug in bugs])
        axes.set_xlabel("seconds of processor time until found (mean); > : never found in that time")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize="small")


def draw_shares(shares: Shares, file: Path) -> None:
    """A bar for each stage, in the order in which a program goes through them."""
    stages = shares.shares[::-1]
    with drawing(file, (8, 2.2)) as axes:
        bars = axes.barh([share.stage for share in stages], [share.percent for share in stages])
        axes.bar_label(bars, [f"{share.percent:.1f} %" for share in stages], padding=3)
        axes.set_xlim(0, 110)
        axes.set_xlabel("percent of the processor time")


@contextmanager
def drawing(file: Path, inches: tuple[float, float]) -> Iterator[Any]:
    """Axes to draw on, saved as an SVG that is the same for the same figures."""
    figure = Figure(figsize=inches, layout="tight")
    yield figure.subplots()
    file.parent.mkdir(exist_ok=True)
    with rc_context({"svg.hashsalt": "mmufuzz", "svg.fonttype": "none"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
