# SPDX-License-Identifier: GPL-2.0-only
"""What waits to be judged, or to be told in a small story, and what of it comes next.

The first program that shows an invariant broken, or an effect, comes before all others: of these, what only NEW breaks
comes first, then effects that no commit allows, then the rest.  Then come the first programs of further traces, as they
were filed, so that what takes long to judge does not keep all else waiting; then small stories of what is not
documented, then programs whose trace has been judged before, worst first, then small stories of what is documented.

Whatever the order, cases that can have the same cause, which are those of one invariant or effect, are judged as they
were filed: so the first program of a cause is the same, and with it what is found, however long cases had to wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Set
from typing import Final, assert_never

from fuzzer.judge.finding import Kind
from fuzzer.judge.seen import Breach, Seen, Trace
from fuzzer.run.divergence import Divergence

_NEWS, _FIRST, _STORY, _AGAIN, _DOCUMENTED_STORY = range(5)


class Case:
    """Program `seed`, as far as it shows `seen`, leaving `trace` as the `round`-th that is judged (0: the first).

    `number`: of the cases of a docket, this one; `is_news`: nothing with its effect or invariant was filed before.
    `shown`: programs that are counted for it, of which it is the first, until it is judged.  `name`: the signature it
    was then found to have, "" before.
    """

    def __init__(self, seed: int, seen: Seen, trace: Trace, round_: int, grade: int) -> None:
        self.seed: Final = seed
        self.seen: Final = seen
        self.trace: Final = trace
        self.round: Final = round_
        self.grade: Final = grade
        self.number = 0
        self.is_news = False
        self.shown = 1
        self.name = ""


class Docket:
    """The cases that wait, without the runs that showed them: a machine is large, and running it again is one more run
    beside the ones that judging takes."""

    def __init__(self) -> None:
        self._filed = 0
        self._waiting = 0
        self._cases: dict[str, deque[Case]] = {}
        self._urgency: dict[str, tuple[int, int, int]] = {}
        self._known: set[str] = set()
        self._stories: list[tuple[int, Case]] = []
        self._is_pressed = False

    def __len__(self) -> int:
        return len(self._stories) + self._waiting

    def file(self, case: Case) -> None:
        """Have a case judged."""
        self._filed += 1
        self._waiting += 1
        case.number = self._filed
        what = case.trace.what
        case.is_news = what not in self._known
        self._known.add(what)
        self._cases.setdefault(what, deque()).append(case)
        self._urgency[what] = min(self._urgency.get(what, self._urgency_of(case)), self._urgency_of(case))

    def tell(self, case: Case, *, documented: bool) -> None:
        """Have the small story of a judged case told."""
        urgency = _NEWS if self._is_pressed else _STORY
        self._stories.append((_DOCUMENTED_STORY if documented else urgency, case))

    def has_unseen(self) -> bool:
        """Does a trace wait of which no program has been judged?"""
        return any(case.round == 0 for cases in self._cases.values() for case in cases)

    def pressing(self) -> int:
        """How many stories wait of what is not documented: their smallest form tells whether they are a known hole, and
        with that what a search ends with."""
        return sum(urgency != _DOCUMENTED_STORY for urgency, _ in self._stories)

    def press(self) -> None:
        """There is little time left: stories of what is not documented come before traces that nobody has seen, and of
        these the worst comes first."""
        self._is_pressed = True
        self._urgency = {what: min(map(self._urgency_of, cases)) for what, cases in self._cases.items()}
        self._stories = [(_NEWS if urgency == _STORY else urgency, case) for urgency, case in self._stories]

    def next(self) -> Case:
        """Take out what comes next.  Raises IndexError if nothing waits."""
        story = min(self._stories, key=_story_urgency, default=None)
        what = min(self._urgency, key=self._urgency.__getitem__, default=None)
        if what is not None and (story is None or self._urgency[what] < _story_urgency(story)):
            case = self._take(what)
        elif story is not None:
            self._stories.remove(story)
            case = story[1]
        else:
            raise IndexError("nothing waits")
        return case

    def _take(self, what: str) -> Case:
        """The first case of an effect or invariant.  What is most urgent of the others decides when they come."""
        cases = self._cases[what]
        case = cases.popleft()
        self._waiting -= 1
        if not cases:
            del self._cases[what], self._urgency[what]
        elif self._urgency_of(case) == self._urgency[what]:
            self._urgency[what] = min(map(self._urgency_of, cases))
        return case

    def _urgency_of(self, case: Case) -> tuple[int, int, int]:
        if case.is_news:
            return _NEWS, case.grade, case.number
        if case.round:
            return _AGAIN, case.grade, case.number
        return _FIRST, case.grade if self._is_pressed else 0, case.number


def _story_urgency(story: tuple[int, Case]) -> tuple[int, int, int]:
    urgency, case = story
    return urgency, 0, case.number


def grade_of(seen: Seen, allowed: Set[str]) -> int:
    """How bad a finding may turn out to be, 0 for the worst: what NEW alone breaks, an effect that is not among those
    which a commit allows, what OLD breaks, and anything else."""
    match seen:
        case Breach(_, sides):
            return 0 if sides == "new" else 2
        case Divergence(effect, _):
            return 3 if effect in allowed else 1
        case _:
            assert_never(seen)


def is_judged(kind: Kind, count: int) -> bool:
    """Is the count-th program that shows a trace judged?

    Of violations, at every power of two.  Of divergences, at every power of four: their traces say where the two models
    began to differ, which tells causes apart better than judging the same again.
    """
    return count & (count - 1) == 0 and (kind == "violation" or count.bit_length() % 2 == 1)
