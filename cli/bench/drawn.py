# SPDX-License-Identifier: GPL-2.0-only
"""Programs that Hypothesis draws by itself, as fast as it can: numbers out of a few fixed strategies, made operations
afterwards. `fuzzer.strategies.structured_programs`, which builds strategies while it draws, takes ten times as
long and spreads its addresses so far that the actors hardly meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st

from fuzzer.program import ops
from fuzzer.program.generate import generate
from fuzzer.program.ops import AnyOperation
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from reference_mmu.config import Config

_MACHINES: Final = 256
# kind, place, and what is left for length, preemption or rights
_Drawn = tuple[int, int, int]
_DRAWN: Final = st.tuples(st.integers(0, 63), st.integers(0, 63), st.integers(0, 255))
_Make = Callable[[Config, int, int, int], AnyOperation]


def drawn_programs(profile: str) -> st.SearchStrategy[Program]:
    """Programs on machines as the profile has them; every operation is drawn."""
    machines = tuple(generate(seed, PROFILES[profile]).config for seed in range(_MACHINES))
    vcpu = st.lists(_DRAWN, min_size=2, max_size=6)
    others = st.lists(_DRAWN, max_size=4)
    return st.builds(_program, st.sampled_from(machines), st.tuples(vcpu, vcpu, vcpu), others, others)


def _program(config: Config, vcpus: tuple[list[_Drawn], ...], mm: list[_Drawn], ioctls: list[_Drawn]) -> Program:
    actors: list[Actor] = []
    uid = 0
    for drawn in vcpus[: config.vcpus]:
        actors.append(Actor("vcpu", _operations(config, uid, drawn, _GUEST_TABLES if config.cr3 >= 0 else _GUEST)))
        uid += len(drawn)
    actors.append(Actor("mm", _operations(config, uid, mm, _MM)))
    actors.append(Actor("ioctl", _operations(config, uid + len(mm), ioctls, _IOCTL)))
    return Program(config, tuple(actors))


def _operations(config: Config, uid: int, drawn: list[_Drawn], makes: tuple[_Make, ...]) -> tuple[AnyOperation, ...]:
    return tuple(makes[kind % len(makes)](config, uid + n, place, rest) for n, (kind, place, rest) in enumerate(drawn))


def _gfn(config: Config, place: int) -> int:
    """A page of a slot; every other access goes to the first one, where actors meet."""
    if config.cr3 >= 0:
        return place % (1 << (config.bits + 1))
    slot = config.slots[place % len(config.slots)]
    return slot.base + (0 if place & 32 else place // 4 % slot.npages)


def _hva(config: Config, place: int) -> int:
    """The host's address of such a page."""
    slot = config.slots[place % len(config.slots)]
    return slot.hva + (0 if place & 32 else place // 4 % slot.npages)


def _length(config: Config, place: int, rest: int) -> int:
    return min(1 + rest % 4, config.hva_pages - _hva(config, place))


def _slot(config: Config, place: int) -> int:
    return place % len(config.slots)


def _read(c: Config, uid: int, place: int, rest: int) -> AnyOperation:
    return ops.Read(uid, _gfn(c, place), rest % 4 == 0)


def _write(c: Config, uid: int, place: int, rest: int) -> AnyOperation:
    return ops.Write(uid, _gfn(c, place))


def _prefetch(c: Config, uid: int, place: int, rest: int) -> AnyOperation:
    return ops.Prefetch(uid, _gfn(c, place), rest % 4 == 0, rest % 3 == 0)


def _write_pte(c: Config, uid: int, place: int, rest: int) -> AnyOperation:
    index, target = rest % (1 << c.bits), _hva(c, place)
    return ops.WritePte(uid, _gfn(c, place), index, target, rest & 16 > 0, rest & 32 > 0, rest & 64 > 0, rest & 128 > 0)


def _flush(c: Config, uid: int, place: int, rest: int) -> AnyOperation:
    return ops.Invlpg(uid, _gfn(c, place)) if c.paging == "npt" else ops.LoadCr3(uid, c.cr3)


_GUEST: Final[tuple[_Make, ...]] = (_read, _read, _read, _write, _write, _prefetch)
_GUEST_TABLES: Final[tuple[_Make, ...]] = (_read, _read, _write, _write_pte, _write_pte, _flush)
_MM: Final[tuple[_Make, ...]] = (
    lambda c, uid, place, rest: ops.ClearFlushYoung(uid, _hva(c, place), _length(c, place, rest)),
    lambda c, uid, place, rest: ops.ClearYoung(uid, _hva(c, place), _length(c, place, rest)),
    lambda c, uid, place, rest: ops.NumaHint(uid, _hva(c, place), _length(c, place, rest), rest),
    lambda c, uid, place, rest: ops.Discard(uid, _hva(c, place), _length(c, place, rest), rest),
    lambda c, uid, place, rest: ops.Migrate(uid, _hva(c, place), rest),
    lambda c, uid, place, rest: ops.Reclaim(uid, _hva(c, place), rest),
    lambda c, uid, place, rest: ops.Writeback(uid, _hva(c, place), rest),
    lambda c, uid, place, rest: ops.Share(uid, _hva(c, place), rest),
    lambda c, uid, place, rest: ops.CollapseHuge(uid, _hva(c, place), rest),
)
_IOCTL: Final[tuple[_Make, ...]] = (
    lambda c, uid, place, rest: ops.EnableLog(uid, _slot(c, place), rest),
    lambda c, uid, place, rest: ops.GetLog(uid, _slot(c, place), rest),
    lambda c, uid, place, rest: ops.ClearLog(uid, _slot(c, place), 0, 1 + rest % c.slots[_slot(c, place)].npages, rest),
    lambda c, uid, place, rest: ops.DisableLog(uid, _slot(c, place), rest),
    lambda c, uid, place, rest: ops.DeleteSlot(uid, _slot(c, place), rest),
    lambda c, uid, place, rest: ops.CreateSlot(uid, _slot(c, place)),
)
