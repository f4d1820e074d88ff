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

from typing import Final, Literal, TypeVar, get_args

import msgspec

from fuzzer.program.arguments import Argument, values_of
from fuzzer.program.generate import generate
from fuzzer.program.ops import ARGUMENTS, KINDS, Operation
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Drive, by_scheduler
from fuzzer.schedule.schedulers import STRATEGIES
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.config import Backing, Config, Flavour, SlotConfig

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "fuzzer.strategies needs Hypothesis, which mmufuzz does not install: pip install hypothesis"
    ) from error

T = TypeVar("T")

_SEEDS: Final = st.integers(min_value=0, max_value=2**31 - 1)
_RESCHED_MAX: Final = 255  # the regions of the default geometry are fewer than 8
_NEW_BASE_MAX: Final = 20
_GFNS_MAX: Final = 4  # of a range of gfns, one huge page
_BACKINGS: Final[tuple[Backing, ...]] = get_args(Backing)
_MMUS: Final[tuple[tuple[str, Flavour | msgspec.UnsetType], ...]] = (
    ("x86", msgspec.UNSET),  # the first is what programs shrink to
    *(("powerpc", flavour) for flavour in get_args(Flavour)),
    *((name, msgspec.UNSET) for name in sorted(ARCHITECTURES) if name not in ("x86", "powerpc")),
)
_APIC_GFN: Final = 40  # behind all memslots
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

    for kind in (*["vcpu"] * config.vcpus, "mm", "ioctl", "device"):
        count = draw(st.integers(min_value=0, max_value=max_ops)) if possible(kind, config) else 0
        made = tuple(draw(operations(kind, config, next_uid + n)) for n in range(count))
        next_uid += count
        actors.append(Actor(kind, made))  # type: ignore[arg-type]
    return Program(config, tuple(actors)).check()


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Possible machines of every architecture in the default geometry, with one or two memslots aligned to nothing."""
    arch, flavour = draw(st.sampled_from(_MMUS))
    backing = tuple(draw(st.lists(st.sampled_from(_BACKINGS), min_size=1, max_size=3)))
    manual = arch != "s390" and draw(st.booleans())
    config = Config(
        vcpus=draw(st.integers(min_value=1, max_value=3)),
        slots=draw(_slots(len(backing) * 4)),
        backing=backing,
        eager_split=draw(st.booleans()),
        manual_protect=manual,
        initially_set=manual and draw(st.booleans()),
        unsafe_mappings=True if draw(st.booleans()) else msgspec.UNSET,
    )
    if arch == "x86":
        return draw(_x86(config)).check()
    hardware_young = False if draw(st.booleans()) else msgspec.UNSET
    return msgspec.structs.replace(config, arch=arch, hardware_young=hardware_young, flavour=flavour).check()


@st.composite
def _x86(draw: st.DrawFn, config: Config) -> Config:
    """What an x86 machine has besides: its MMU, perhaps a guest_memfd behind the first memslot, an APIC access page."""
    mmu: Literal["tdp", "shadow"] = draw(st.sampled_from(("tdp", "shadow")))
    paging = draw(st.sampled_from(_PAGINGS))
    first, *others = config.slots
    if mmu == "tdp" and not first.logging and draw(st.booleans()):
        first = msgspec.structs.replace(first, gmem=0)
    apic_page: SlotConfig | msgspec.UnsetType = msgspec.UNSET
    backing = config.backing
    if paging != "npt" and draw(st.booleans()):
        apic_page = SlotConfig(base=_APIC_GFN, npages=1, hva=config.hva_pages)
        backing = (*backing, "anon")
    return msgspec.structs.replace(
        config,
        mmu=mmu,
        paging=paging,
        slots=(first, *others),
        backing=backing,
        zap_all_quirk=draw(st.booleans()),
        prove_mmu=draw(st.booleans()),
        nested=mmu == "tdp" and draw(st.booleans()),
        apic_page=apic_page,
    )


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


def possible(kind: str, config: Config) -> list[type[Operation]]:
    """What an actor of that kind may do on a machine: every operation of it whose needs are met."""
    return [one for one in KINDS[kind] if all(need.is_met(config) for need in one.needs)]


def operations(kind: str, config: Config, uid: int) -> st.SearchStrategy[Operation]:
    """One of those that are possible, each as often as the others."""
    return st.one_of([_operation(one, config, uid) for one in possible(kind, config)])


@st.composite
def _operation(draw: st.DrawFn, kind: type[Operation], config: Config, uid: int) -> Operation:
    """One operation, its arguments drawn one after the other."""
    values: dict[str, int] = {}
    room = 1  # pages from the last address on
    for field, argument in ARGUMENTS[kind].items():
        if argument is Argument.PAGES:
            values[field] = draw(st.integers(min_value=1, max_value=room))
        else:
            values[field] = draw(_argument(argument, config))
            room = _room(argument, values[field], config)
    return kind(uid, **values)


def _argument(argument: Argument, config: Config) -> st.SearchStrategy[int]:
    """Values that are likely to matter, where more are possible."""
    match argument:
        case Argument.PAGE | Argument.GFN:
            return _gfns(config)
        case Argument.NEW_BASE:
            return st.integers(min_value=0, max_value=_NEW_BASE_MAX)
        case Argument.RESCHED:
            return st.integers(min_value=0, max_value=_RESCHED_MAX)
        case Argument.SLOT_PAGE:
            return st.integers(min_value=0, max_value=config.hva_pages - 1)
        case Argument.TARGET:
            return st.one_of(st.just(-1), _gfns(config))
        case _:
            return st.sampled_from(values_of(argument, config))


def _room(argument: Argument, first: int, config: Config) -> int:
    """How many pages an operation may be about that begins there."""
    if argument in (Argument.HVA, Argument.SLOT_PAGE):
        return config.hva_pages - first
    if argument is Argument.FILE_PAGE:
        return min(_GFNS_MAX, config.gmem_pages - first)
    return _GFNS_MAX
