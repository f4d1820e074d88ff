# SPDX-License-Identifier: GPL-2.0-only
"""A program: one configuration and the operations of each actor; its canonical bytes and its digest."""

import hashlib
from typing import Final, Literal

import msgspec

from fuzzer.program.arguments import refusal, values_of
from fuzzer.program.ops import ALONE, ARGUMENTS, KINDS, AnyOperation, range_of, tag
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.config import Config, ConfigError
from reference_mmu.record import Record

MAX_ACTORS: Final = 80
MAX_OPERATIONS: Final = 4096


class Actor(Record, forbid_unknown_fields=True):
    """One thread and what it does, in order. A vCPU actor is vCPU number n, n its place among the vCPU actors."""

    kind: Literal["vcpu", "mm", "ioctl", "device"]
    ops: tuple[AnyOperation, ...]


class Program(Record, forbid_unknown_fields=True):
    """What is run, apart from who runs when."""

    config: Config
    actors: tuple[Actor, ...]

    def check(self) -> "Program":
        """Return self, or raise ConfigError: every operation must be of its actor's kind and inside the machine."""
        self.config.check()
        known = self.config.architecture in ARCHITECTURES
        _require(known, f"architecture '{self.config.architecture}' is none of {', '.join(ARCHITECTURES)}")
        _require(len(self.actors) <= MAX_ACTORS, f"more than {MAX_ACTORS} actors")
        kinds = [actor.kind for actor in self.actors]
        vcpus = kinds.count("vcpu")
        _require("vcpu" not in kinds[vcpus:], "vCPU actors come first")
        _require(vcpus <= self.config.vcpus, f"{vcpus} vCPU actors, the machine has {self.config.vcpus} vCPUs")
        alone = kinds.count("mm") <= 1
        seen: set[int] = set()
        for actor in self.actors:
            uids = [op.uid for op in actor.ops]
            _require(uids == sorted(uids), f"uids of one actor must grow, found {uids}")
            for op in actor.ops:
                _require(isinstance(op, KINDS[actor.kind]), f"{type(op).__name__} is no operation of a {actor.kind}")
                _require(0 <= op.uid < MAX_OPERATIONS, f"uid {op.uid} is not in 0..{MAX_OPERATIONS - 1}")
                _require(op.uid not in seen, f"uid {op.uid} occurs twice")
                seen.add(op.uid)
                _require(
                    alone or type(op) not in ALONE,
                    f"operation {op.uid}: {tag(type(op))} takes no lock of the host: one mm actor only",
                )
                _check_arguments(self.config, op)
        return self

    def encode(self) -> bytes:
        """Canonical JSON: equal programs have equal bytes."""
        return msgspec.json.encode(self)

    def digest(self) -> str:
        """16 hex digits that name the program."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]

    def operations(self) -> int:
        return sum(len(actor.ops) for actor in self.actors)

    def uids(self) -> set[int]:
        return {op.uid for actor in self.actors for op in actor.ops}

    def without(self, uid: int) -> "Program":
        """This program without one operation."""
        actors = tuple(Actor(actor.kind, tuple(op for op in actor.ops if op.uid != uid)) for actor in self.actors)
        return Program(self.config, actors)

    def uid_limit(self) -> int:
        """One more than the largest uid; those of one actor grow."""
        return max((actor.ops[-1].uid for actor in self.actors if actor.ops), default=-1) + 1


def _require(condition: bool, rule: str) -> None:
    if not condition:
        raise ConfigError(f"impossible program: {rule}")


def _check_arguments(config: Config, op: AnyOperation) -> None:
    """Raises ConfigError if the machine has not what the operation needs, or an argument is none of its values."""
    for need in op.needs:
        _require(need.is_met(config), f"operation {op.uid}: {need.unmet}")
    arguments = ARGUMENTS[type(op)]
    for field, argument in arguments.items():
        value = getattr(op, field)
        is_possible = value in values_of(argument, config)
        _require(is_possible, f"operation {op.uid}: {refusal(argument, field, value)}")
    start, pages = range_of(op)
    if start:
        first = getattr(op, start)
        is_inside = first + pages - 1 in values_of(arguments[start], config)
        _require(is_inside, f"operation {op.uid}: {refusal(arguments[start], start, first)}")


def decode_program(data: bytes) -> Program:
    """Parse and check a program. Raises ConfigError or msgspec.ValidationError with a one-line message."""
    return msgspec.json.decode(data, type=Program).check()
