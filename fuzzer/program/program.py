# SPDX-License-Identifier: GPL-2.0-only
"""A program: one configuration and the operations of each actor; its canonical bytes and its digest."""

import hashlib
from typing import Final, Literal

import msgspec

from fuzzer.program.ops import KINDS, AnyOperation, ClearLog, Invlpg, LoadCr3, Nested, WritePte
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.config import Config, ConfigError

MAX_ACTORS: Final = 80
MAX_OPERATIONS: Final = 4096


class Actor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thread and what it does, in order. A vCPU actor is vCPU number n, n its place among the vCPU actors."""

    kind: Literal["vcpu", "mm", "ioctl", "device"]
    ops: tuple[AnyOperation, ...]


class Program(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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
        _require(
            sum(actor.kind == "mm" for actor in self.actors) <= 1, "more than one mm actor: mmap_lock is not modelled"
        )
        seen: set[int] = set()
        for actor in self.actors:
            uids = [op.uid for op in actor.ops]
            _require(uids == sorted(uids), f"uids of one actor must grow, found {uids}")
            for op in actor.ops:
                _require(isinstance(op, KINDS[actor.kind]), f"{type(op).__name__} is no operation of a {actor.kind}")
                _require(0 <= op.uid < MAX_OPERATIONS, f"uid {op.uid} is not in 0..{MAX_OPERATIONS - 1}")
                _require(op.uid not in seen, f"uid {op.uid} occurs twice")
                seen.add(op.uid)
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
    gfns = 1 << (config.bits * config.levels)
    npages = getattr(op, "npages", 1)
    _require(npages >= 1, f"operation {op.uid}: npages is {npages}")
    for field, limit in (("gfn", gfns), ("hva", config.hva_pages), ("base", gfns)):
        first = getattr(op, field, None)
        if first is not None:
            _require(first >= 0 and first + npages <= limit, f"operation {op.uid}: {field} {first} is out of range")
    slot = getattr(op, "slot", None)
    if slot is not None:
        _require(0 <= slot < len(config.slots), f"operation {op.uid}: no memslot {slot}")
    if isinstance(op, ClearLog):
        _require(op.first >= 0, f"operation {op.uid}: first is {op.first}")
    _require(getattr(op, "resched", 0) in range(1 << 32), f"operation {op.uid}: resched has more than 32 bits")
    if isinstance(op, (WritePte, Invlpg, LoadCr3)):
        _require(config.cr3 >= 0, f"operation {op.uid}: a guest without page tables of its own")
    if isinstance(op, WritePte):
        _require(0 <= op.index < 1 << config.bits, f"operation {op.uid}: no entry {op.index}")
        _require(-1 <= op.target < gfns, f"operation {op.uid}: target {op.target} is out of range")
    if isinstance(op, Invlpg):
        _require(config.paging == "npt", f"operation {op.uid}: INVLPG does not flush L1's EPT")
    if isinstance(op, LoadCr3):
        _require(0 <= op.table < gfns, f"operation {op.uid}: table {op.table} is out of range")
    if isinstance(op, Nested):
        _require(config.nested, f"operation {op.uid}: nested needs a configuration with nested roots")


def decode_program(data: bytes) -> Program:
    """Parse and check a program. Raises ConfigError or msgspec.ValidationError with a one-line message."""
    return msgspec.json.decode(data, type=Program).check()
