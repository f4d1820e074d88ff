# SPDX-License-Identifier: GPL-2.0-only
"""Who runs when, in the two forms in which a schedule is kept.

*Turns* are a list of (actor, uid, point, occurrence): the actor runs until it stands for the occurrence-th time at
point of operation uid.  Replayed turn by turn and drained without preemption they survive when operations are dropped.

*Switches* are a map (uid, point, occurrence) -> actor: whoever stands there is preempted by that actor; apart from
that the running actor goes on until its operation ends, waits, or retries.  They are minimal in preemptions.
"""

from __future__ import annotations

from reference_mmu.record import Record


class Turn(Record, array_like=True):
    """One step of the leader: `actor` came to stand at `point` (0: the end) of operation `uid`."""

    actor: int
    uid: int
    point: int
    occurrence: int


class Switch(Record, array_like=True):
    """When the running actor comes to stand at `point` of operation `uid` for the occurrence-th time (point 0: its
    end), `actor` goes on instead. uid -1 stands for the start of the program."""

    uid: int
    point: int
    occurrence: int
    actor: int
