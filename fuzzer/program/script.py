# SPDX-License-Identifier: GPL-2.0-only
"""A program as machines run it: the same operations by number.

A search generates scripts and runs them; only what somebody wants to keep or to see is written down as a Program.
"""

from __future__ import annotations

from typing import Any, Final

from mypy_extensions import i64, mypyc_attr

from fuzzer.program.arguments import YES_OR_NO, Argument
from fuzzer.program.ops import ALL_KINDS, ARGUMENTS, Operation, has, tag
from fuzzer.program.program import Actor, Program
from reference_mmu import operations
from reference_mmu.config import Config
from reference_mmu.operations import (
    MISHAPS,
    STORED_ACCESSED,
    STORED_DIRTY,
    STORED_EXECUTABLE,
    STORED_SHIFT,
    STORED_WRITABLE,
    Call,
)

_FLOW_ARGUMENTS: Final = 3  # as many as a Call has
_ENTRY: Final = frozenset((Argument.TARGET, Argument.RIGHT))  # together one argument of the flow, see gpte_stored()
_RIGHTS: Final = (
    (STORED_WRITABLE, "writable"),
    (STORED_EXECUTABLE, "executable"),
    (STORED_ACCESSED, "accessed"),
    (STORED_DIRTY, "dirty"),
)


def flow_number(kind: type[Operation]) -> int:
    """The number of a kind of operation, in reference_mmu/x86/operations.py, where it is named like the tag. Raises
    TypeError if there is none."""
    name = tag(kind).upper().replace("-", "_")
    number = getattr(operations, name, None)
    if number is None:
        raise TypeError(f"{kind.__name__} has no flow: add {name} to reference_mmu/x86/operations.py")
    return int(number)


def flow_fields(kind: type[Operation]) -> tuple[str, ...]:
    """The fields that are the arguments of a flow, in their order; of an entry that is stored, none, and no mishap of
    those that MISHAPS names. Raises TypeError if they are more than a Call has room for."""
    apart = {*_ENTRY, Argument.RESCHED}
    fields = [name for name, argument in ARGUMENTS[kind].items() if argument not in apart and name not in MISHAPS]
    room = _FLOW_ARGUMENTS - int(has(kind, Argument.TARGET))
    if len(fields) > room:
        raise TypeError(f"{kind.__name__} has {len(fields)} arguments, its flow can have {room}")
    return tuple(fields)


# Of each kind: how it is written down, and which of its fields are the arguments of its flow, in their order.
WRITTEN: Final[dict[int, tuple[Any, tuple[str, ...]]]] = {
    flow_number(kind): (kind, flow_fields(kind)) for kind in ALL_KINDS
}
NUMBERS: Final[dict[Any, int]] = {kind: number for number, (kind, _) in WRITTEN.items()}
_TAGS: Final[dict[int, str]] = {number: tag(kind) for number, (kind, _) in WRITTEN.items()}
_RESCHED_FIELD: Final[dict[Any, str]] = {
    kind: field for kind in ALL_KINDS for field, argument in ARGUMENTS[kind].items() if argument is Argument.RESCHED
}
_YES_OR_NO: Final = frozenset(
    (kind, field) for kind in ALL_KINDS for field, argument in ARGUMENTS[kind].items() if argument in YES_OR_NO
)
_STORING: Final = frozenset(kind for kind in ALL_KINDS if has(kind, Argument.TARGET))
_MISHAPS_OF: Final[dict[Any, tuple[str, ...]]] = {
    kind: tuple(field for field in ARGUMENTS[kind] if field in MISHAPS) for kind in ALL_KINDS
}


@mypyc_attr(acyclic=True)
class Script:
    """`kinds`: of the actors, as in Program.  `calls`: of each actor.  `uid_limit`: above every uid.  `profile`: which
    it was drawn from, "" if it was not."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.kinds: list[str] = []
        self.calls: list[list[Call]] = []
        self.uid_limit: i64 = 0
        self.profile = ""

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

    def meets_mishap(self, uid: i64) -> bool:
        """Does something go wrong around operation `uid`: a signal, or no memory, for example?"""
        return any(call.uid == uid and call.mishaps != 0 for calls in self.calls for call in calls)

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
        # No conditional expression: compiled, that would make numbers of both.
        if (kind, field) in _YES_OR_NO:
            values[field] = value != 0
        else:
            values[field] = value
    if kind in _RESCHED_FIELD:
        values[_RESCHED_FIELD[kind]] = int(call.resched)
    if kind in _STORING:
        values["target"] = (arguments[2] >> STORED_SHIFT) - 1
        for right, name in _RIGHTS:
            values[name] = arguments[2] & right != 0
    for field in _MISHAPS_OF[kind]:
        values[field] = call.mishaps & MISHAPS[field] != 0
    return kind(int(call.uid), **values)


def _call(op: Any) -> Call:
    kind = type(op)
    return call_with(kind, op.uid, {field: int(getattr(op, field)) for field in ARGUMENTS[kind]})


def call_with(kind: Any, uid: int, values: dict[str, int]) -> Call:
    """The operation of that kind with these arguments, by the names of their fields."""
    number = NUMBERS[kind]
    arguments = [values[field] for field in WRITTEN[number][1]] + [0, 0, 0]
    call = Call(uid, number, arguments[0], arguments[1], arguments[2], values.get(_RESCHED_FIELD.get(kind, ""), 0))
    if kind in _STORING:
        call.c = (values["target"] + 1) << STORED_SHIFT
        for right, name in _RIGHTS:
            if values[name]:
                call.c |= right
    for field in _MISHAPS_OF[kind]:
        if values[field]:
            call.mishaps |= MISHAPS[field]
    return call
