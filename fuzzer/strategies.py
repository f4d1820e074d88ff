# SPDX-License-Identifier: GPL-2.0-only
"""The grammar of programs for Hypothesis, for properties of your own.

    from hypothesis import given
    from fuzzer.strategies import programs, schedules, structured_programs

    @given(programs(), schedules())
    def test_my_property(program, schedule): ...

`programs` draws a seed and lets generate() decode it: fast, the same programs as a campaign, but they shrink to small
seeds and not to small programs.  `structured_programs` builds a program operation by operation and shrinks well.
Hypothesis is needed for testing only, so it is no dependency of the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, TypeVar

from fuzzer.program import ops
from fuzzer.program.generate import generate
from fuzzer.program.ops import AnyOperation
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Drive, by_scheduler
from fuzzer.schedule.schedulers import STRATEGIES
from reference_mmu.config import Backing, Config, SlotConfig

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "fuzzer.strategies needs Hypothesis, which mmufuzz does not install: pip install hypothesis"
    ) from error

T = TypeVar("T")

_SEEDS: Final = st.integers(min_value=0, max_value=2**31 - 1)
_RESCHED: Final = st.integers(min_value=0, max_value=255)
_BACKINGS: Final[tuple[Backing, ...]] = ("anon", "thp", "file", "shmem", "cow")
_PAGINGS: Final[tuple[Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"], ...]] = (
    "ept-ad",
    "ept-ad-nopml",
    "ept-noad",
    "npt",
)


def programs(profile: str | Profile = "mixed") -> st.SearchStrategy[Program]:
    """Programs as a campaign would generate them. Raises KeyError for an unknown profile."""
    chosen = PROFILES[profile] if isinstance(profile, str) else profile
    return _SEEDS.map(lambda seed: generate(seed, chosen))


def schedules() -> st.SearchStrategy[Drive]:
    """Interleavings, as Comparison.run() takes them: a strategy's name and its seed."""
    return st.builds(by_scheduler, st.sampled_from(STRATEGIES), _SEEDS)


@st.composite
def structured_programs(draw: st.DrawFn, max_ops: int = 3) -> Program:
    """Programs of at most max_ops operations per actor; shrinks towards no operations, gfn 0 and a plain machine."""
    config = draw(configs())
    actors: list[Actor] = []
    next_uid = 0

    def some(
        kind: Literal["vcpu", "mm", "ioctl", "device"], operation: Callable[[int], st.SearchStrategy[AnyOperation]]
    ) -> None:
        nonlocal next_uid
        count = draw(st.integers(min_value=0, max_value=max_ops))
        made = tuple(draw(operation(next_uid + n)) for n in range(count))
        next_uid += count
        actors.append(Actor(kind, made))

    for _ in range(config.vcpus):
        some("vcpu", lambda uid: vcpu_operations(config, uid))
    some("mm", lambda uid: mm_operations(config, uid))
    some("ioctl", lambda uid: ioctl_operations(config, uid))
    some("device", lambda uid: device_operations(config, uid))
    return Program(config, tuple(actors)).check()


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Possible machines of the default geometry, with one or two memslots aligned to nothing."""
    mmu = draw(st.sampled_from(("tdp", "shadow")))
    backing = tuple(draw(st.lists(st.sampled_from(_BACKINGS), min_size=1, max_size=3)))
    manual = draw(st.booleans())
    return Config(
        mmu="tdp" if mmu == "tdp" else "shadow",
        paging=draw(st.sampled_from(_PAGINGS)),
        vcpus=draw(st.integers(min_value=1, max_value=3)),
        slots=draw(_slots(len(backing) * 4)),
        backing=backing,
        eager_split=draw(st.booleans()),
        manual_protect=manual,
        initially_set=manual and draw(st.booleans()),
        zap_all_quirk=draw(st.booleans()),
        prove_mmu=draw(st.booleans()),
        nested=mmu == "tdp" and draw(st.booleans()),
    ).check()


@st.composite
def _slots(draw: st.DrawFn, pages: int) -> tuple[SlotConfig, ...]:
    base = draw(st.integers(min_value=0, max_value=9))
    cut = draw(st.integers(min_value=1, max_value=pages))
    first = SlotConfig(base=base, npages=cut, hva=0, logging=draw(st.booleans()))
    if cut == pages:
        return (first,)
    gap = draw(st.integers(min_value=0, max_value=4))
    return first, SlotConfig(base=base + cut + gap, npages=pages - cut, hva=cut, logging=draw(st.booleans()))


def _gfns(config: Config) -> st.SearchStrategy[int]:
    """gfns of the memslots."""
    return st.sampled_from([slot.base + n for slot in config.slots for n in range(slot.npages)])


def _ranges(limit: int) -> st.SearchStrategy[tuple[int, int]]:
    """(first, npages) inside [0, limit)."""
    firsts = st.integers(min_value=0, max_value=limit - 1)
    return firsts.flatmap(lambda first: st.tuples(st.just(first), st.integers(min_value=1, max_value=limit - first)))


def vcpu_operations(config: Config, uid: int) -> st.SearchStrategy[AnyOperation]:
    """What the guest and its vCPU thread may do."""
    gfns = _gfns(config)
    choices: list[st.SearchStrategy[AnyOperation]] = [
        st.builds(ops.Read, st.just(uid), gfns, st.booleans()),
        st.builds(ops.Write, st.just(uid), gfns),
        st.builds(ops.Prefetch, st.just(uid), gfns, st.booleans(), st.booleans()),
    ]
    if config.nested:
        choices.append(st.builds(ops.Nested, st.just(uid)))
    if config.cr3 >= 0:
        targets = st.one_of(st.just(-1), gfns)
        indexes = st.integers(min_value=0, max_value=(1 << config.bits) - 1)
        flag = st.booleans()
        choices.append(st.builds(ops.WritePte, st.just(uid), gfns, indexes, targets, flag, flag, flag, flag))
        choices.append(st.builds(ops.LoadCr3, st.just(uid), gfns))
        if config.paging == "npt":
            choices.append(st.builds(ops.Invlpg, st.just(uid), gfns))
    return st.one_of(choices)


def mm_operations(config: Config, uid: int) -> st.SearchStrategy[AnyOperation]:
    """What the primary MMU may do to the process that owns the VM."""
    hvas = st.integers(min_value=0, max_value=config.hva_pages - 1)
    ranges = _ranges(config.hva_pages)
    choices: list[st.SearchStrategy[AnyOperation]] = [
        ranges.map(lambda r: ops.ClearFlushYoung(uid, r[0], r[1])),
        ranges.map(lambda r: ops.ClearYoung(uid, r[0], r[1])),
        st.builds(ops.TestYoung, st.just(uid), hvas),
        st.builds(lambda r, resched: ops.NumaHint(uid, r[0], r[1], resched), ranges, _RESCHED),
        st.builds(lambda r, resched: ops.Discard(uid, r[0], r[1], resched), ranges, _RESCHED),
    ]
    for kind in (ops.Migrate, ops.Reclaim, ops.Writeback, ops.Share, ops.CollapseHuge):
        choices.append(st.builds(kind, st.just(uid), hvas, _RESCHED))
    return st.one_of(choices)


def ioctl_operations(config: Config, uid: int) -> st.SearchStrategy[AnyOperation]:
    """What userspace may do to memslots and their dirty logs."""
    numbers = st.integers(min_value=0, max_value=len(config.slots) - 1)
    bases = st.integers(min_value=0, max_value=20)
    ranges = _ranges(config.hva_pages)
    choices: list[st.SearchStrategy[AnyOperation]] = [
        st.builds(kind, st.just(uid), numbers, _RESCHED)
        for kind in (ops.EnableLog, ops.GetLog, ops.DisableLog, ops.DeleteSlot)
    ]
    choices.append(st.builds(ops.CreateSlot, st.just(uid), numbers))
    choices.append(
        st.builds(lambda n, r, resched: ops.ClearLog(uid, n, r[0], r[1], resched), numbers, ranges, _RESCHED)
    )
    choices.append(st.builds(ops.MoveSlot, st.just(uid), numbers, bases, _RESCHED))
    return st.one_of(choices)


def device_operations(config: Config, uid: int) -> st.SearchStrategy[AnyOperation]:
    """Write tracking, and zaps of a gfn range."""
    gfns = _gfns(config)
    return st.one_of(
        st.builds(ops.Track, st.just(uid), gfns),
        st.builds(ops.Untrack, st.just(uid), gfns),
        st.builds(ops.ZapRange, st.just(uid), gfns, st.integers(min_value=1, max_value=4), _RESCHED),
    )
