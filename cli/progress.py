# SPDX-License-Identifier: GPL-2.0-only
"""What a search shows while it runs: a live bar on a terminal, a plain line now and then anywhere else."""

from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from cli.tally import Tallied, Tally
from reference_mmu.record import Record

_PLAIN_SECONDS: Final = 5.0


class Budget(Record):
    """When a search ends: after `seconds`, or after `programs` if that is not 0."""

    seconds: int
    programs: int

    def fraction(self, elapsed: float, programs: int) -> float:
        """How much is done, 0 to 1."""
        return min(1.0, programs / self.programs if self.programs else elapsed / self.seconds)

    def seconds_left(self, elapsed: float, programs: int) -> float | None:
        """How many seconds are left; None while nobody can tell."""
        if not self.programs:
            return max(0.0, self.seconds - elapsed)
        return elapsed * (self.programs - programs) / programs if programs else None


class Progress(Protocol):
    """A context manager that is told now and then how far the search is, and at once of what is new."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def show(self, tally: Tally, elapsed: float) -> None: ...

    def say(self, line: str) -> None: ...


def make_progress(console: Console, budget: Budget) -> Progress:
    return LiveProgress(console, budget) if console.is_terminal else PlainProgress(console, budget)


class LiveProgress:
    """The progress for people: redrawn in place."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self.console = console
        self.budget = budget
        self.live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def show(self, tally: Tally, elapsed: float) -> None:
        bar = Table.grid(padding=(0, 1))
        done = self.budget.fraction(elapsed, tally.programs)
        bar.add_row(ProgressBar(100, 100 * done, width=40), f"{done:4.0%}", eta_words(self.budget, tally, elapsed))
        lines = [Text(rate_words(tally, elapsed)), Text(verdict_words(tally.verdicts()))]
        self.live.update(Group(bar, *lines), refresh=True)

    def say(self, line: str) -> None:
        self.console.print(line)


class PlainProgress:
    """The progress for logs: the first line as soon as there is a program to count, then one every few seconds."""

    def __init__(self, console: Console, budget: Budget) -> None:
        self.console = console
        self.budget = budget
        self.next_line = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, tally: Tally, elapsed: float) -> None:
        if not tally.programs or elapsed < self.next_line:
            return
        self.next_line = elapsed + _PLAIN_SECONDS
        words = (rate_words(tally, elapsed), verdict_words(tally.verdicts()), eta_words(self.budget, tally, elapsed))
        self.say("; ".join(words))

    def say(self, line: str) -> None:
        self.console.print(line)
        self.console.file.flush()


def rate_words(tally: Tally, elapsed: float) -> str:
    """E.g. "812 programs (13.5/s), 190 421 steps (3 168/s), coverage 1171"."""
    seconds = max(elapsed, 1e-3)
    programs = f"{spaced(tally.programs)} programs ({tally.programs / seconds:.1f}/s)"
    steps = f"{spaced(tally.steps)} steps ({spaced(round(tally.steps / seconds))}/s)"
    return f"{programs}, {steps}, coverage {len(tally.coverage)}"


def verdict_words(verdicts: dict[str, int]) -> str:
    """E.g. "findings: 77 documented, 1 fixed"."""
    found = [f"{count} {verdict}" for verdict, count in verdicts.items() if count]
    return f"findings: {', '.join(found) or 'none'}"


def eta_words(budget: Budget, tally: Tally, elapsed: float) -> str:
    left = budget.seconds_left(elapsed, tally.programs)
    if left is None:
        return "ETA unknown"
    minutes, seconds = divmod(round(left), 60)
    return f"ETA {minutes // 60}:{minutes % 60:02}:{seconds:02}"


def spaced(number: int) -> str:
    """1234567 as "1 234 567"."""
    return f"{number:,}".replace(",", " ")


def finding_line(tallied: Tallied) -> str:
    """A finding in one line, for those that are worth interrupting the reader."""
    finding = tallied.finding
    by = f" by {', '.join(finding.patches)}" if finding.patches else ""
    where = f" -> {tallied.reproducer}" if tallied.reproducer else " (no reproducer: minimization lost it)"
    known = f", known as {tallied.known}" if tallied.known else ""
    return f"{finding.verdict}: {finding.what}{by}{known}{where}"
