# SPDX-License-Identifier: GPL-2.0-only
"""A program as machines run it: the same operations by number.

A search generates scripts and runs them; only what somebody wants to keep or to see is written down as a Program.
"""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import i64, mypyc_attr

from fuzzer.program import ops
from fuzzer.program.program import Actor, Program
from reference_mmu import operations
from reference_mmu.config import Config
from reference_mmu.operations import (
    STORED_ACCESSED,
    STORED_DIRTY,
    STORED_EXECUTABLE,
    STORED_SHIFT,
    STORED_WRITABLE,
    WRITE_PTE,
    Call,
)

# By kind of operation: how it is written down, and which of its fields are the arguments of its flow, in their order.
WRITTEN: Final[dict[int, tuple[Any, tuple[str, ...]]]] = {
    operations.READ: (ops.Read, ("gfn", "upgrade_fails")),
    operations.WRITE: (ops.Write, ("gfn",)),
    operations.PREFETCH: (ops.Prefetch, ("gfn", "upgrade_fails", "write")),
    operations.NESTED: (ops.Nested, ()),
    operations.WRITE_PTE: (ops.WritePte, ("gfn", "index")),  # and the entry, see gpte_stored()
    operations.INVLPG: (ops.Invlpg, ("gfn",)),
    operations.LOAD_CR3: (ops.LoadCr3, ("table",)),
    operations.CLEAR_FLUSH_YOUNG: (ops.ClearFlushYoung, ("hva", "npages")),
    operations.CLEAR_YOUNG: (ops.ClearYoung, ("hva", "npages")),
    operations.TEST_YOUNG: (ops.TestYoung, ("hva",)),
    operations.NUMA_HINT: (ops.NumaHint, ("hva", "npages")),
    operations.MIGRATE: (ops.Migrate, ("hva",)),
    operations.RECLAIM: (ops.Reclaim, ("hva",)),
    operations.WRITEBACK: (ops.Writeback, ("hva",)),
    operations.SHARE: (ops.Share, ("hva",)),
    operations.DISCARD: (ops.Discard, ("hva", "npages")),
    operations.COLLAPSE_HUGE: (ops.CollapseHuge, ("hva",)),
    operations.ENABLE_LOG: (ops.EnableLog, ("slot",)),
    operations.GET_LOG: (ops.GetLog, ("slot",)),
    operations.CLEAR_LOG: (ops.ClearLog, ("slot", "first", "npages")),
    operations.DISABLE_LOG: (ops.DisableLog, ("slot",)),
    operations.DELETE_SLOT: (ops.DeleteSlot, ("slot",)),
    operations.CREATE_SLOT: (ops.CreateSlot, ("slot",)),
    operations.MOVE_SLOT: (ops.MoveSlot, ("slot", "base")),
    operations.TRACK: (ops.Track, ("gfn",)),
    operations.UNTRACK: (ops.Untrack, ("gfn",)),
    operations.ZAP_RANGE: (ops.ZapRange, ("gfn", "npages")),
}
_NUMBERS: Final[dict[Any, int]] = {kind: number for number, (kind, _) in WRITTEN.items()}
_TAGS: Final[dict[int, str]] = {number: str(kind.__struct_config__.tag) for number, (kind, _) in WRITTEN.items()}
_YES_OR_NO: Final = frozenset(("upgrade_fails", "write"))
_RIGHTS: Final = (
    (STORED_WRITABLE, "writable"),
    (STORED_EXECUTABLE, "executable"),
    (STORED_ACCESSED, "accessed"),
    (STORED_DIRTY, "dirty"),
)


@mypyc_attr(acyclic=True)
class Script:
    """`kinds`: of the actors, as in Program.  `calls`: of each actor.  `uid_limit`: above every uid."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.kinds: list[str] = []
        self.calls: list[list[Call]] = []
        self.uid_limit: i64 = 0

    def add_actor(self, kind: str, calls: list[Call]) -> None:
        """One more actor."""
        self.kinds.append(kind)
        self.calls.append(calls)
        for call in calls:
            self.uid_limit = max(self.uid_limit, call.uid + 1)

    def tag(self, uid: i64) -> str:
        """The kind of operation `uid` is, e.g. "clear-flush-young"; raises KeyError if there is none."""
        for calls in self.calls:
            for call in calls:
                if call.uid == uid:
                    return _TAGS[int(call.kind)]
        raise KeyError(int(uid))

    def program(self) -> Program:
        """The script, written down."""
        actors = []
        for kind, calls in zip(self.kinds, self.calls, strict=True):
            written = tuple([_operation(call) for call in calls])
            actors.append(Actor(kind, written))  # type: ignore[arg-type]
        return Program(self.config, tuple(actors))


def script_of(program: Program) -> Script:
    """A program as machines run it."""
    script = Script(program.config)
    for actor in program.actors:
        script.add_actor(actor.kind, [_call(op) for op in actor.ops])
    return script


def _operation(call: Call) -> Any:
    kind, fields = WRITTEN[int(call.kind)]
    arguments = (int(call.a), int(call.b), int(call.c))
    values: dict[str, object] = {}
    for field, value in zip(fields, arguments, strict=False):
        if field in _YES_OR_NO:
            values[field] = value != 0
        else:
            values[field] = value
    if kind in ops.RESCHEDULED:
        values["resched"] = int(call.resched)
    if call.kind == WRITE_PTE:
        values["target"] = (arguments[2] >> STORED_SHIFT) - 1
        for right, name in _RIGHTS:
            values[name] = arguments[2] & right != 0
    return kind(int(call.uid), **values)


def _call(op: Any) -> Call:
    kind = _NUMBERS[type(op)]
    call = Call(op.uid, kind, resched=op.resched if type(op) in ops.RESCHEDULED else 0)
    arguments = [int(getattr(op, field)) for field in WRITTEN[kind][1]] + [0, 0, 0]
    call.a, call.b, call.c = arguments[0], arguments[1], arguments[2]
    if kind == WRITE_PTE:
        call.c = (op.target + 1) << STORED_SHIFT
        for right, name in _RIGHTS:
            if getattr(op, name):
                call.c |= right
    return call
