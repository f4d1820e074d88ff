# SPDX-License-Identifier: GPL-2.0-only
"""A reproducer as a film: the whole state of both models after every turn of the leader, told as changes.

`fuzzer.tell.story` says in words what a turn did; this says what there is, so that a page can show any moment.  Frame 0
is the machine before the first turn, told as changes from nothing; frame n is what row n - 1 of the story changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fuzzer.minimize.minimize import Scenario
from fuzzer.program.program import Program
from fuzzer.program.words import actor_names
from fuzzer.run.compare import Comparison
from fuzzer.run.execute import Execution
from fuzzer.run.lockstep import Pair
from fuzzer.tell.picture import can_be_pictured, picture
from reference_mmu.record import Record

PENDING: Final = "pending"
"""Group of what was begun and is not done: flushes, exits, grace periods, locks held."""

_NAMED_BY_NUMBER: Final = ("memslot", "root", "shadow page")

# What tables of points say of a flush that has not ended.
_FLUSHING: Final = "flush requests posted"


class StateChange(Record, array_like=True):
    """One thing in the state that is not what it was: group ("SPTE", "TLB of vCPU0", …), name in it ("gfn 4"), and
    its value now, "" if it is gone."""

    group: str
    name: str
    value: str


class Frame(Record):
    """What one turn changed in each model."""

    old: tuple[StateChange, ...]
    new: tuple[StateChange, ...]


def film(comparison: Comparison, scenario: Scenario) -> tuple[Frame, ...]:
    """Run a story and take both models' state at the start, after every turn and after the end; empty for a machine
    that is too large to be shown."""
    if not can_be_pictured(scenario.program.config):
        return ()
    frames: list[Frame] = []

    program = scenario.program

    def drive(pair: Pair) -> None:
        lead, follow = (_Camera(execution, program) for execution in (pair.leader, pair.follower))

        def take(_actor: int) -> None:
            frames.append(Frame(lead.changes(), follow.changes()))

        take(-1)
        pair.observer = take
        pair.replay_switches(scenario.switches)
        take(-1)

    comparison.run(program, drive)
    if comparison.leader == "new":
        return tuple(Frame(frame.new, frame.old) for frame in frames)
    return tuple(frames)


class _Camera:
    """Tells how the state of one execution changed since it was last asked."""

    def __init__(self, execution: Execution, program: Program) -> None:
        self.execution = execution
        self.names = actor_names(program)
        self.was: dict[tuple[str, str], str] = {}

    def changes(self) -> tuple[StateChange, ...]:
        now = dict(self.things())
        was, self.was = self.was, now
        keys = dict.fromkeys([*was, *now])
        return tuple(StateChange(*key, now.get(key, "")) for key in keys if was.get(key) != now.get(key))

    def things(self) -> Iterator[tuple[tuple[str, str], str]]:
        for name, value in picture(self.execution.m).items():
            yield _placed(name), value
        for name, value in self.pending():
            yield (PENDING, name), value

    def pending(self) -> Iterator[tuple[str, str]]:
        execution = self.execution
        m = execution.m
        for actor, name in enumerate(self.names):
            held = int(m.mmu_lock.held[actor])
            if held:
                yield f"mmu_lock of {name}", "for write" if held < 0 else "for read"
            if m.srcu.inside[actor]:
                yield f"SRCU of {name}", "reading"
            if m.rcu.inside[actor]:
                yield f"RCU of {name}", "reading"
            at = int(execution.actors[actor].at)
            point = execution.points.names[at]
            if "flush" in point or _FLUSHING in execution.points.places[at]:
                yield f"flush by {name}", f"at {point}, vCPUs may still use what they have cached"
        for vcpu in m.vcpus:
            if vcpu.kicked:
                yield f"exit of vCPU{vcpu.number}", "out of guest mode, exit handler still to run"
        yield from m.pending_words()
        for table in m.rcu_callbacks:
            yield f"page table {table.pt}", "unlinked, freed after a grace period"


def _placed(name: str) -> tuple[str, str]:
    """A name of the picture as (group, name in it): "SPTE gfn 4" is "gfn 4" of "SPTE"."""
    for group in _NAMED_BY_NUMBER:
        if name.startswith(f"{group} "):
            return group, name.removeprefix(f"{group} ")
    for unit in (" gfn ", " page ", " hva "):
        group, found, number = name.partition(unit)
        if found:
            return group, f"{unit.strip()} {number}"
    return "machine", name
