# SPDX-License-Identifier: GPL-2.0-only
"""Is a search flat?  The resident memory of `mmufuzz run --jobs 1`, of its search process and of the one that stores.

    make compile
    .venv/bin/python -m benchmarks.memory --programs 1000000 --json memory.json --svg docs/images/memory.svg
    .venv/bin/python -m benchmarks.memory --draw memory.json --svg docs/images/memory.svg

Memory is counted by programs, which mean the same on any machine, so neither load nor speed change the picture.
"""

import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Final

import click
import msgspec
import psutil  # type: ignore[import-untyped]

from db.pace import pace
from db.session import StoreError, open_database
from reference_mmu.record import Record
from reference_mmu.version import model_version
from tests.cli.shell import COMMAND, environment
from tests.service.waiting import let_pass

GOAL_MIB: Final = 300
_MIB: Final = 2**20
# What Python's spawned processes have in common; beside the search process there is one that tracks resources.
_SPAWNED: Final = "spawn_main"


class Sample(Record):
    """Resident memory at a moment, in MiB."""

    seconds: float
    programs: int
    search_mib: float
    parent_mib: float


class Measured(Record):
    """A search over programs from seed 1 on."""

    profile: str
    model: str
    samples: tuple[Sample, ...]

    def lines(self) -> list[str]:
        """Peaks, and how much came in the second half: what is flat has warmed up by then."""
        last = self.samples[-1]
        half = next(sample for sample in self.samples if sample.programs * 2 >= last.programs)
        minutes = last.seconds / 60
        return [
            f"{last.programs} programs of {self.profile} in {minutes:.1f} minutes, model {self.model}",
            *(
                f"{name:<15} {max(mib):.0f} MiB at most, {after - before:+.1f} MiB in the second half"
                for name, mib, before, after in (
                    ("search process", [s.search_mib for s in self.samples], half.search_mib, last.search_mib),
                    ("parent", [s.parent_mib for s in self.samples], half.parent_mib, last.parent_mib),
                )
            ),
        ]


@click.command()
@click.option("--programs", type=click.IntRange(1), default=1_000_000, show_default=True)
@click.option("--seconds", type=click.IntRange(0), default=0, help="Search so long instead of so many programs.")
@click.option("--profile", default="mixed", show_default=True)
@click.option("--every", type=click.FloatRange(0.1), default=2.0, show_default=True, help="Seconds between samples.")
@click.option("--draw", type=click.Path(path_type=Path, exists=True), help="Measure nothing, draw this JSON file.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write what was measured.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write a picture of it; needs matplotlib.")
def main(
    programs: int, seconds: int, profile: str, every: float, draw: Path | None, json_file: Path | None, svg: Path | None
) -> None:
    """Measure the memory of one search process over many programs."""
    budget = f"--seconds {seconds}" if seconds else f"--programs {programs}"
    measured = msgspec.json.decode(draw.read_bytes(), type=Measured) if draw else measure(budget, profile, every)
    print("\n".join(measured.lines()))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
    if svg is not None:
        plot(measured, svg)


def measure(budget: str, profile: str, every: float) -> Measured:
    """Search, and look every few seconds."""
    words = f"run {budget} --profile {profile} --seed 1 --jobs 1"
    samples = []
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as name:
        variables = environment() | {"MMUFUZZ_CORE": "compiled"}
        began = monotonic()
        search = subprocess.Popen([*COMMAND, *words.split()], cwd=name, env=variables, stdout=subprocess.DEVNULL)
        while search.poll() is None:
            let_pass(every)
            with suppress(psutil.NoSuchProcess, StopIteration, StoreError):  # not yet, or not any more
                parent_mib, search_mib = memory_of(psutil.Process(search.pid))
                samples.append(Sample(round(monotonic() - began, 1), programs_in(Path(name)), search_mib, parent_mib))
        if search.returncode not in (0, 1):  # 1: it has found a regression
            raise click.ClickException(f"the search ended with exit code {search.returncode}")
    if not samples:
        raise click.ClickException(f"the search took less than {every} seconds: look more often, or search longer")
    return Measured(profile, model_version(), thinned(samples))


def memory_of(parent: psutil.Process) -> tuple[float, float]:
    """MiB of a search's parent and of its search process.  Raises StopIteration if that is not there."""
    search = next(child for child in parent.children() if any(_SPAWNED in word for word in child.cmdline()))
    parent_mib, search_mib = (round(process.memory_info().rss / _MIB, 1) for process in (parent, search))
    return parent_mib, search_mib


def programs_in(folder: Path) -> int:
    """Programs stored so far.  Raises StoreError."""
    file = folder / "mmufuzz.db"
    if not file.exists():
        return 0
    engine = open_database(f"sqlite:///{file}")
    try:
        return pace(engine, 1).programs
    finally:
        engine.dispose()


def thinned(samples: list[Sample], most: int = 400) -> tuple[Sample, ...]:
    """At most so many of them, evenly, and of what lies between two the highest memory."""
    step = -(-len(samples) // most)
    groups = (samples[first : first + step] for first in range(0, len(samples), step))
    return tuple(
        msgspec.structs.replace(
            group[-1], search_mib=max(s.search_mib for s in group), parent_mib=max(s.parent_mib for s in group)
        )
        for group in groups
    )


def plot(measured: Measured, svg: Path) -> None:
    """Draw it; the same measurement gives the same bytes."""
    import matplotlib  # only who draws needs it

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "mmufuzz", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.8), layout="constrained")
    thousands = [sample.programs / 1000 for sample in measured.samples]
    for name, colour, mib in (
        ("search process", "#1f6feb", [sample.search_mib for sample in measured.samples]),
        ("parent, which stores", "#8250df", [sample.parent_mib for sample in measured.samples]),
    ):
        axes.plot(thousands, mib, color=colour, linewidth=1.6)
        axes.annotate(name, (thousands[-1], mib[-1]), (-4, 5), textcoords="offset points", ha="right", color=colour)
    axes.axhline(GOAL_MIB, color="#6e7781", linewidth=1, linestyle="--")
    axes.annotate("goal", (0, GOAL_MIB), (4, 4), textcoords="offset points", color="#6e7781")
    axes.set(xlabel="thousand programs", ylabel="resident memory, MiB", ylim=(0, GOAL_MIB * 1.15))
    axes.set_xlim(0, thousands[-1])
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    figure.savefig(svg, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
