# SPDX-License-Identifier: GPL-2.0-only
"""What the primary MMU tells its notifiers, in order."""

from collections.abc import Generator
from typing import Any

from tests.by_hand import MM, Stage

Notified = list[tuple[str, int, int]]


def record_notifiers(stage: Stage) -> Notified:
    """Every call from now on, as it is made: ("start", first hva, end), "end" or "young"."""
    calls: Notified = []
    names = {
        "start": "mmu_notifier_invalidate_range_start",
        "end": "mmu_notifier_invalidate_range_end",
        "young": "mmu_notifier_clear_flush_young",
    }
    for short, name in names.items():
        setattr(stage.m, name, _recorded(calls, short, getattr(stage.m, name)))
    return calls


def _recorded(calls: Notified, short: str, method: Any) -> Any:
    def called(start: int, end: int) -> Generator[int, None, Any]:
        calls.append((short, start, end))
        return (yield from method(start, end))

    return called


def told_of(stage: Stage, flow: Generator[int, None, Any], actor: int = MM) -> Notified:
    """What they are told of a whole operation that nobody interferes with."""
    calls = record_notifiers(stage)
    stage.run(actor, flow)
    return calls


def pair(first: int, end: int) -> Notified:
    """An invalidation and nothing within."""
    return [("start", first, end), ("end", first, end)]
