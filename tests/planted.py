# SPDX-License-Identifier: GPL-2.0-only
"""Effects that OLD and NEW of the shipped model seldom or never show: planted at the end of a guest's read."""

from collections.abc import Callable
from errno import EFAULT, EINTR
from typing import Final

from fuzzer.program.ops import Read
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Comparison, Models, by_switches
from fuzzer.run.model import SHIPPED, LoadedModel
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.running_actor import Flow
from reference_mmu import observed
from reference_mmu.changelog.effects import OUTCOMES
from reference_mmu.changelog.semantics import NEW
from reference_mmu.config import Config
from reference_mmu.kvm.vm import Vm
from reference_mmu.mm.host import HOST_D
from reference_mmu.operations import Call
from reference_mmu.x86.x86 import X86

Deed = Callable[[Vm], None]

GFN: Final = 1


def nothing(m: Vm) -> None:
    """What the shipped model does."""


def event(kind: int, value: int = 0) -> Deed:
    return lambda m: m.record(kind, value)


def cost(counter: int) -> Deed:
    return lambda m: m.observed.count(m.uid, counter)


def fault(outcome: str) -> Deed:
    """One more fault, with an outcome of OUTCOMES."""
    return event(observed.EV_PF, OUTCOMES.index(outcome)) if outcome != OUTCOMES[0] else nothing


def dirty_host_pte(m: Vm) -> None:
    m.host.flags[GFN] ^= HOST_D


def other_contents(m: Vm) -> None:
    """As if the guest had written something else."""
    m.host.pages[m.host.pte[GFN]].data += 1
    m.host.reference[GFN] += 1


def other_page(m: Vm) -> None:
    """Of the same contents, as if the first had been migrated."""
    was = m.host.pages[m.host.pte[GFN]]
    m.host.pte[GFN] = m.host.alloc(GFN, was.data)
    m.host.pages[m.host.pte[GFN]].dirty = was.dirty


def keep_reference(m: Vm) -> None:
    m.host.get(m.host.pte[GFN])


def shown(old: Deed, new: Deed) -> Outcome:
    """A read, nothing else, of a model that then does `old`, against one that does `new`."""
    program = Program(Config(vcpus=1), (Actor("vcpu", (Read(0, GFN),)),)).check()
    return Comparison(NEW, NEW, "old", Models(with_deed(old), with_deed(new))).run(program, by_switches(()))


def with_deed(deed: Deed) -> LoadedModel:
    """The shipped model, with something done at the end of each operation."""

    def start(m: Vm, actor: int, call: Call) -> Flow:
        result = yield from SHIPPED.start(m, actor, call)
        deed(m)
        return result

    return LoadedModel(X86, start)


READ_ONLY_FIXED: Final = event(observed.EV_PF, int(observed.PF_FIXED | observed.PF_READ_ONLY))
READ_ONLY_SPURIOUS: Final = event(observed.EV_PF, int(observed.PF_SPURIOUS | observed.PF_READ_ONLY))

_COUNTED: Final = {
    "pml-entries": observed.COUNT_PML,
    "checks": observed.COUNT_CHECKS,
    "visits": observed.COUNT_VISITS,
    "spte-changes": observed.COUNT_CHANGES,
    "accessed-marks": observed.COUNT_ACCESSED_MARKS,
    "dirty-marks": observed.COUNT_DIRTY_MARKS,
    "gup-calls": observed.COUNT_GUP,
    "page-references": observed.COUNT_PAGE_REFERENCES,
    "page-lookups": observed.COUNT_PAGE_LOOKUPS,
}

PLANTED: Final[dict[str, tuple[Deed, Deed]]] = {
    "fewer-flushes": (event(observed.EV_FLUSH), nothing),
    "more-flushes": (nothing, event(observed.EV_FLUSH)),
    "fewer-dirty-reports": (event(observed.EV_HARVEST, 0b11), event(observed.EV_HARVEST, 0b01)),
    "more-dirty-reports": (event(observed.EV_HARVEST, 0b01), event(observed.EV_HARVEST, 0b11)),
    **{f"fewer-{what}": (cost(counter), nothing) for what, counter in _COUNTED.items()},
    **{f"more-{what}": (nothing, cost(counter)) for what, counter in _COUNTED.items()},
    "young-false-negative": (event(observed.EV_YOUNG, 1), event(observed.EV_YOUNG, 0)),
    "young-false-positive": (event(observed.EV_YOUNG, 0), event(observed.EV_YOUNG, 1)),
    "new-warning": (nothing, event(observed.EV_WARN)),
    "warning-gone": (event(observed.EV_WARN), nothing),
    "read-only-rewritten": (READ_ONLY_SPURIOUS, READ_ONLY_FIXED),
    "read-only-kept": (READ_ONLY_FIXED, READ_ONLY_SPURIOUS),
    "read-differs": (event(observed.EV_READ, 1), event(observed.EV_READ, 2)),
    "memory-differs": (nothing, other_contents),
    "mapping-differs": (event(observed.EV_PF, int(observed.PF_FIXED)), READ_ONLY_FIXED),
    "host-flags-differ": (nothing, dirty_host_pte),
    "host-pages-differ": (nothing, other_page),
    "page-references-differ": (nothing, keep_reference),
    "errno-differs": (event(observed.EV_ERRNO, EFAULT), event(observed.EV_ERRNO, EINTR)),
    "map-refused": (
        event(observed.EV_MAP, int(observed.MAP_UNPINNED)),
        event(observed.EV_MAP, int(observed.MAP_REFUSED)),
    ),
    "map-granted": (
        event(observed.EV_MAP, int(observed.MAP_REFUSED)),
        event(observed.EV_MAP, int(observed.MAP_PINNED)),
    ),
    "pinned-map": (
        event(observed.EV_MAP, int(observed.MAP_UNPINNED)),
        event(observed.EV_MAP, int(observed.MAP_PINNED)),
    ),
    **{f"{new}-instead-of-{old}": (fault(old), fault(new)) for old in OUTCOMES for new in OUTCOMES if new != old},
}
"""Effect -> what OLD does, and what NEW does instead."""
