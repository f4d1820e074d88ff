# SPDX-License-Identifier: GPL-2.0-only
"""A reproducer told step by step: after each turn of the leader, where both models stand and what they did in it."""

from __future__ import annotations

from errno import errorcode
from typing import Final, NamedTuple

import msgspec

from fuzzer.judge.attribute import Attributor
from fuzzer.minimize.minimize import Scenario
from fuzzer.oracle.invariants import INVARIANTS
from fuzzer.program.program import Program
from fuzzer.program.script import script_of
from fuzzer.program.words import actor_names, operation_words, page_word
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison, Drive, by_switches
from fuzzer.run.execute import Execution
from fuzzer.run.lockstep import Pair
from fuzzer.run.outcome import Outcome
from fuzzer.tell.picture import can_be_pictured, changes, contents_words, picture
from reference_mmu import observed
from reference_mmu.changelog.effects import EFFECTS, OUTCOMES
from reference_mmu.kvm.vm import Vm
from reference_mmu.points import END
from reference_mmu.record import Record

_MAPS: Final = {
    int(observed.MAP_REFUSED): "KVM may not map guest memory",
    int(observed.MAP_UNPINNED): "KVM maps guest memory",
    int(observed.MAP_PINNED): "KVM maps guest memory, and pins it",
}
_COUNTED: Final = (
    (observed.COUNT_CHECKS, "checks of the iterator"),
    (observed.COUNT_VISITS, "entries visited"),
    (observed.COUNT_CHANGES, "SPTEs stored"),
    (observed.COUNT_PML, "gfns logged by PML"),
    (observed.COUNT_ACCESSED_MARKS, "struct pages marked accessed"),
    (observed.COUNT_DIRTY_MARKS, "struct pages marked dirty"),
    (observed.COUNT_GUP, "calls of GUP"),
    (observed.COUNT_PAGE_REFERENCES, "page references taken"),
    (observed.COUNT_PAGE_LOOKUPS, "struct pages looked up by pfn"),
)


class Cell(Record):
    """One model in one step. `where`: the point it ran to, by name, and `place` in words: the kernel's function, what
    has just happened there or comes next; `seen`: what it did on the way, in order, then what changed in its state;
    `broken`: invariants that broke now."""

    where: str
    seen: tuple[str, ...]
    broken: tuple[str, ...]
    place: str = ""


class Row(Record):
    """One step. `turn` counts from 1; the last row, 0, is what the follower still had to do and the final judgement."""

    turn: int
    actor: str
    operation: str
    old: Cell
    new: Cell


class Telling(NamedTuple):
    """A replay with its rows."""

    outcome: Outcome
    rows: list[Row]


def tell(comparison: Comparison, scenario: Scenario) -> Telling:
    """Run a scenario and watch both models."""
    return watch(comparison, scenario.program, by_switches(scenario.switches))


def watch(comparison: Comparison, program: Program, drive: Drive) -> Telling:
    """Run a program under any interleaving and watch both models."""
    rows: list[Row] = []

    def watched(pair: Pair) -> None:
        teller = _Teller(pair)
        pair.observer = teller.after_turn
        drive(pair)
        pair.observer = None  # it leads back to the pair
        teller.at_end()
        rows.extend(teller.rows)

    outcome = comparison.run(program, watched)
    return Telling(outcome, rows if comparison.leader == "old" else [_swapped(row) for row in rows])


def patches_alone(reproducer: Reproducer) -> Comparison:
    """The reproducer's comparison with nothing but the attributed patches, and what they require, between old and new:
    the leader is as it was."""
    comparison, scenario = reproducer.comparison(), reproducer.scenario()
    attributor = Attributor(comparison, script_of(scenario.program), by_switches(scenario.switches))
    return attributor.varied(attributor.close(reproducer.finding.patches))


def first_difference(rows: list[Row]) -> int:
    """Index of the first row in which the two models differ, -1 if there is none."""
    return next((index for index, row in enumerate(rows) if row.old != row.new), -1)


def _swapped(row: Row) -> Row:
    return msgspec.structs.replace(row, old=row.new, new=row.old)


class _Teller:
    """Notes a row after every turn of a pair, the leader as `old`."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.rows: list[Row] = []
        self.program = pair.script.program()
        self.names = actor_names(self.program)
        self.page = page_word(self.program.config)
        self.watches = (_Watch(pair.leader, self.program), _Watch(pair.follower, self.program))

    def after_turn(self, actor: int) -> None:
        turns, leader = self.pair.turns, self.pair.leader
        # A turn that broke a rule of the model is not recorded; its operation has not ended.
        uid = int(turns.uid(-1) if len(turns) > len(self.rows) else leader.actors[actor].uid)
        operation = next(op for op in self.program.actors[actor].ops if op.uid == uid)
        cells = [watch.after_turn(actor, uid) for watch in self.watches]
        self.rows.append(Row(len(self.rows) + 1, self.names[actor], operation_words(operation, self.page), *cells))

    def at_end(self) -> None:
        self.rows.append(Row(0, "", "the end", *(watch.at_end() for watch in self.watches)))


class _Watch:
    """Tells what one execution did since it was last asked."""

    def __init__(self, execution: Execution, program: Program) -> None:
        self.execution = execution
        self.program = program
        self.pictured = can_be_pictured(execution.m.config)
        self.operations = [op.uid for actor in program.actors for op in actor.ops]
        self.events = dict.fromkeys(self.operations, 0)
        self.counters = self.count()
        self.broken: set[str] = set()
        self.noted: set[str] = set()
        self.steps = 0
        self.picture = self.take_picture()

    def after_turn(self, actor: int, uid: int) -> Cell:
        """What a turn of `actor` in operation `uid` did."""
        where = self.where(actor, uid)
        at = self.execution.actors[actor].at
        return Cell(where, self.seen(), self.newly_broken(), self.execution.points.places[at])

    def at_end(self) -> Cell:
        moved = int(self.execution.steps) > self.steps
        return Cell("runs to the end" if moved else "judged", self.seen(), self.newly_broken())

    def where(self, actor: int, uid: int) -> str:
        """Where the actor stands, relative to operation `uid`, in which the leader took its turn."""
        execution = self.execution
        moved = int(execution.steps) > self.steps
        self.steps = int(execution.steps)
        uids = [op.uid for op in self.program.actors[actor].ops]
        running = execution.actors[actor]
        place, at = int(running.place), int(running.at)
        if place > uids.index(uid):
            return "ends" if moved else "has ended"
        if at == END:
            return f"has not begun #{uids[place]}"
        verb = "to" if moved else "stays at" if execution.can_run(running) else "waits at"
        return f"{verb} {execution.points.names[at]}" + (f" of #{uids[place]}" if uids[place] != uid else "")

    def seen(self) -> tuple[str, ...]:
        return (*self.new_events(), *self.new_counts(), *self.new_notes(), *self.new_state())

    def new_events(self) -> list[str]:
        m = self.execution.m
        words: list[str] = []
        for uid in self.operations:
            events = m.observed.events(uid)
            words.extend(event_words(m, self.slot_of(uid), event) for event in events[self.events[uid] :])
            self.events[uid] = len(events)
        return words

    def slot_of(self, uid: int) -> int:
        """The memslot an operation names, -1 if none."""
        ops = (op for actor in self.program.actors for op in actor.ops if op.uid == uid)
        return int(getattr(next(ops), "slot", -1))

    def count(self) -> list[int]:
        counted = self.execution.m.observed.counted
        return [sum(int(counted(uid, which)) for uid in self.operations) for which, _ in _COUNTED]

    def new_counts(self) -> list[str]:
        was, self.counters = self.counters, self.count()
        return [
            f"{name}: {now - before}"
            for before, now, (_, name) in zip(was, self.counters, _COUNTED, strict=True)
            if now != before
        ]

    def new_notes(self) -> list[str]:
        facts = [name for name in self.execution.judge.facts if name not in self.noted]
        self.noted.update(facts)
        return [f"{name}: {EFFECTS[name]}" for name in facts]

    def newly_broken(self) -> tuple[str, ...]:
        broken = [name for name in self.execution.judge.violations if name not in self.broken]
        self.broken.update(broken)
        said = ((name, self.execution.judge.violations[name].detail) for name in broken)
        return tuple(f"{name}: {INVARIANTS[name]}" + (f": {detail}" if detail else "") for name, detail in said)

    def take_picture(self) -> dict[str, str]:
        return picture(self.execution.m) if self.pictured else {}

    def new_state(self) -> list[str]:
        was, self.picture = self.picture, self.take_picture()
        return changes(was, self.picture)


def event_words(m: Vm, slot_number: int, event: int) -> str:
    """One recorded event, e.g. "fault: spurious"; `slot_number` is the memslot its operation works on."""
    kind, value = event >> int(observed.EV_SHIFT), event & ((1 << int(observed.EV_SHIFT)) - 1)
    if kind == observed.EV_PF:
        read_only = ", read-only" if value & observed.PF_READ_ONLY else ""
        return f"fault: {OUTCOMES[value & (observed.PF_READ_ONLY - 1)]}{read_only}"
    if kind == observed.EV_READ:
        return f"guest reads: {contents_words(value)}"
    if kind == observed.EV_YOUNG:
        return "answers: young" if value else "answers: old"
    if kind == observed.EV_HARVEST:
        base = next((int(slot.base_gfn) for slot in m.memslots if slot.number == slot_number), 0)
        first = base + (value >> 32) * int(m.word_gfns)
        gfns = [str(first + bit) for bit in range(32) if value >> bit & 1]
        return f"reports dirty: gfn {', '.join(gfns)}"
    if kind == observed.EV_ERRNO:
        return f"fails: {errorcode.get(value, value)}"
    if kind == observed.EV_MAP:
        return _MAPS[value]
    return {int(observed.EV_FLUSH): "remote TLB flush", int(observed.EV_WARN): "WARN"}.get(
        kind, f"event {kind}: {value}"
    )
