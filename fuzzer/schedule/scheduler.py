# SPDX-License-Identifier: GPL-2.0-only
"""Who runs when: the Scheduler contract."""

from __future__ import annotations

from abc import ABC, abstractmethod

from mypy_extensions import i64

from fuzzer.schedule.choices import Choices


class Scheduler(ABC):
    """Chooses the leader's next actor. One instance serves one run.

    pick() is called once per turn with the leader, of which it may look at `ready`, the first `n_ready` of which can
    run (never none, ascending), and at where everybody stands; it must return one of those and depend on nothing but
    its seed and what it was shown.
    """

    @abstractmethod
    def pick(self, choices: Choices) -> i64:
        """The actor that goes on."""
