# SPDX-License-Identifier: GPL-2.0-only
"""Whoever looks a page up: every operation that names one, on every machine, over every memory.

Commits that change what a look-up may be asked, or by which function, and rely on everybody asking in another way by
then, are proven here.  An operation runs alone on a machine of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import product
from typing import Any, Final, get_args

from fuzzer.program.arguments import Argument, values_of
from fuzzer.program.ops import ARGUMENTS, KINDS, Operation, tag
from fuzzer.program.script import Script, call_with
from fuzzer.prove import look_up
from fuzzer.prove.equivalences import everything, lockstep
from fuzzer.prove.look_up import GFN, PAGE, PTE_STATES, PteState, set_state
from fuzzer.prove.sweep import InputCase, SemanticsPair, Sweep
from fuzzer.run.execute import Execution
from fuzzer.run.model import SHIPPED
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing, Config, Flavour, SlotConfig
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W
from reference_mmu.operations import MISHAPS

NO_SLOT: Final = 7  # a gfn
STEPS_MAX: Final = 400  # of an operation; a guest whose access is never let through goes on for ever

# The states in which look-ups differ, without the flags that change nothing beside another one.
STATES: Final = tuple(
    state
    for state in PTE_STATES
    if state.pte != "mapped" or state.flags in (0, HOST_W, HOST_W | HOST_D, HOST_SHARED, HOST_W | HOST_PROTNONE)
)
SLOTS: Final = ("writable", "read-only", "none")
MACHINES: Final[dict[str, dict[str, Any]]] = {
    "TDP MMU": {"mmu": "tdp"},
    "shadow MMU": {"mmu": "shadow"},
    **{arch: {"arch": arch} for arch in ("arm64", "riscv", "loongarch", "mips", "s390")},
    **{flavour: {"arch": "powerpc", "flavour": flavour} for flavour in get_args(Flavour)},
}


def machine(name: str, kind: Backing, slot: str) -> Config:
    """Two pages of one kind of memory."""
    slots = (SlotConfig(base=GFN, npages=2, hva=PAGE, readonly=slot == "read-only"),)
    return Config(bits=1, vcpus=1, slots=slots, backing=(kind, kind), **MACHINES[name]).check()


def operations(config: Config, gfn: int) -> Iterator[tuple[str, str, Any]]:
    """The kind of actor, the name and the call of every operation that looks `gfn` up, with every answer to
    yes or no."""
    for actor in ("vcpu", "ioctl"):
        for kind in KINDS[actor]:
            if names_a_page(kind) and all(need.is_met(config) for need in kind.needs):
                for values in arguments(kind, config, gfn):
                    told = [field for field, value in values.items() if value is True]
                    yield actor, " ".join([tag(kind), *told]), call_with(kind, 0, values)


def names_a_page(kind: type[Operation]) -> bool:
    return any(argument in (Argument.PAGE, Argument.GFN) for argument in ARGUMENTS[kind].values())


def arguments(kind: type[Operation], config: Config, gfn: int) -> Iterator[dict[str, Any]]:
    """All pages are `gfn`; nothing goes wrong around the operation, but GUP-fast may fail; what else is yes or no is
    either."""
    choices = []
    for field, argument in ARGUMENTS[kind].items():
        if argument in (Argument.PAGE, Argument.GFN):
            choices.append([gfn])
        elif argument in (Argument.FLAG, Argument.MISHAP) and field not in MISHAPS:
            choices.append([False, True])
        else:
            choices.append([values_of(argument, config)[0]])
    for values in product(*choices):
        yield dict(zip(ARGUMENTS[kind], values, strict=True))


def caller_cases(names: Iterable[str], sides: SemanticsPair) -> Iterator[InputCase]:
    for name, kind, slot in product(names, get_args(Backing), SLOTS):
        if name == "s390" and slot == "read-only":
            continue  # it has none
        config = machine(name, kind, slot)
        calls = list(operations(config, NO_SLOT if slot == "none" else GFN))
        for state in STATES if slot != "none" else STATES[:1]:
            for actor, told, call in calls:
                before, after = [ran(config, semantics, state, actor, call) for semantics in sides]
                yield InputCase((name, kind, slot, state, told), before, after)


def ran(config: Config, semantics: Semantics, state: PteState, actor: str, call: Any) -> tuple[object, ...]:
    """All that an operation does on a machine in that state, and leaves behind. Whoever has the page locked unlocks it
    when the operation waits for that."""
    script = Script(config)
    script.add_actor("vcpu", [call] if actor == "vcpu" else [])
    if actor != "vcpu":
        script.add_actor(actor, [call])
    execution = Execution(script, semantics, SHIPPED)
    host = execution.m.host
    set_state(host, state)
    if state.pte != "mapped":
        host.huge[PAGE // host.block] = False  # no huge PTE maps it then
    while not execution.drain(STEPS_MAX) and execution.steps < STEPS_MAX:
        host.remap(PAGE, host.swap_cache[PAGE], HOST_W)
    holds = [(int(page.refcount), int(page.kvm_refs), int(page.kvm_pins)) for page in host.pages]
    marks = [(page.dirty, int(page.accessed)) for page in host.pages]
    return everything(execution), holds, marks


def callers_on(names: Iterable[str], which: str) -> Sweep:
    """A sweep over the operations of some machines."""
    return Sweep(
        f"every operation that names a page, on {which}, all it does and leaves behind: for every kind of memory, "
        "states of the host PTE, and a memslot that may be written, one that may not, or none",
        ("machine", "memory", "slot", "host PTE", "operation"),
        partial(caller_cases, names),
    )


CALLERS: Final = callers_on(MACHINES, "every machine")
# Where gfn_to_page() is called.
PAGE_CALLERS: Final = callers_on(("book3s_radix", "book3s_pr", "book3s_pr_32", "s390"), "powerpc and s390")

# One profile of each architecture that looks pages up in programs.
EVERYWHERE: Final = ("pages", "arm64-pages", "powerpc", "riscv", "loongarch", "mips", "s390")

CALLER_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "gup-fast-single-page-pointer": (look_up.FAST, lockstep("pages")),
    "add-kvm-faultin-pfn": (look_up.ENTRY, lockstep("pages")),
    "gfn-to-page-read-only": (look_up.PAGE_TO_WRITE, PAGE_CALLERS, lockstep("powerpc"), lockstep("s390")),
    "drop-gfn-to-pfn": (CALLERS, *map(lockstep, EVERYWHERE)),
    "follow-pfn-refcounted-page-required": (CALLERS, *map(lockstep, EVERYWHERE)),
}
"""By patch, as SWEEPS in equivalences.py."""
