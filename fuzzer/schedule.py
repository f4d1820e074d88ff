# SPDX-License-Identifier: GPL-2.0-only
"""Who runs when: the Scheduler contract, and the two forms in which a schedule is kept.

*Turns* are a list of (actor, uid, point, occurrence): the actor runs until it stands for the occurrence-th time at
point of operation uid.  Replayed turn by turn and drained without preemption they survive when operations are dropped.

*Switches* are a map (uid, point, occurrence) -> actor: whoever stands there is preempted by that actor; apart from
that the running actor goes on until its operation ends, waits, or retries.  They are minimal in preemptions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from fuzzer.execute import Execution


class Turn(msgspec.Struct, frozen=True, array_like=True):
    """One step of the leader: `actor` came to stand at `point` (0: the end) of operation `uid`."""

    actor: int
    uid: int
    point: int
    occurrence: int


class Switch(msgspec.Struct, frozen=True, array_like=True):
    """When the running actor comes to stand at `point` of operation `uid` for the occurrence-th time (point 0: its
    end), `actor` goes on instead. uid -1 stands for the start of the program."""

    uid: int
    point: int
    occurrence: int
    actor: int


class Scheduler(Protocol):
    """Chooses the leader's next actor. One instance serves one run.

    pick() is called once per turn with the actors that can run (never empty, ascending) and the leader's state; it
    must return one of them and depend on nothing but its seed and what it was shown.
    """

    def pick(self, runnable: list[int], execution: Execution) -> int: ...
