# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences about guest memory that KVM maps for itself, or looks up for itself."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Final, get_args

from fuzzer.prove.callers import NO_SLOT, STATES
from fuzzer.prove.equivalences import lockstep
from fuzzer.prove.inputs import run
from fuzzer.prove.look_up import GFN, MISHAPS, PAGE, MemoryRig, PteState, asked_of, places, two_pages
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing, Config
from reference_mmu.kvm.vcpu_map import KvmHostMap, kvm_vcpu_map, kvm_vcpu_map_readonly, kvm_vcpu_unmap
from reference_mmu.mm.memory import zap_contents
from reference_mmu.oracle import Oracle
from reference_mmu.x86.vmx.nested import run_l2
from reference_mmu.x86.x86 import X86

MEANWHILE: Final = ("nothing", "thrown away, memslot deleted")


class MapRig(MemoryRig):
    """A machine of x86 with one memslot, or none."""

    def __init__(self, semantics: Semantics, kind: Backing) -> None:
        super().__init__(X86(two_pages(kind), semantics, 1, 1, Oracle()), kind)

    def start(self, which: str, state: PteState, logs: bool, mishap: str) -> None:
        m = self.m
        self.begin(state, mishap)
        slot = self.slot(which)
        m.memslots = [] if slot is None else [slot]
        if slot is not None and logs:
            slot.log_dirty_pages = True
            slot.dirty_bitmap = m.alloc_bitmap(slot)

    def logged(self) -> list[bool]:
        m = self.m
        return [m.is_dirty(slot, gfn) for slot in m.memslots if slot.log_dirty_pages for gfn in (GFN, GFN + 1)]


def map_cases(whole: bool, sides: SemanticsPair) -> Iterator[InputCase]:
    """`whole`: all that stands in a map counts, also what nobody will look at."""
    inputs = ((*place, *rest) for place in places() for rest in product(BOTH, MISHAPS, BOTH, MEANWHILE))
    return asked_of(MapRig, sides, inputs, partial(mapped, whole))


def mapped(
    whole: bool, rig: MapRig, which: str, state: PteState, logs: bool, mishap: str, write: bool, meanwhile: str
) -> tuple[object, ...]:
    """kvm_vcpu_map() or kvm_vcpu_map_readonly(), and kvm_vcpu_unmap() of what came of it; then once more with the same
    map."""
    m = rig.m
    rig.start(which, state, logs, mishap)
    host_map = KvmHostMap()
    done = []
    m.srcu.lock(m.actor)
    for _ in range(2):
        flow = (kvm_vcpu_map if write else kvm_vcpu_map_readonly)(m, GFN, host_map)
        points, r = rig.run(flow)
        held = [(int(page.refcount), int(page.kvm_refs), int(page.kvm_pins)) for page in m.host.pages]
        at = fields_of(host_map) if whole else (int(host_map.hva), int(host_map.gfn)) if r == 0 else None
        if meanwhile != "nothing":
            zap_contents(m, PAGE)
            m.memslots = []
        kvm_vcpu_unmap(m, host_map, write)
        left = fields_of(host_map) if whole else int(host_map.hva)
        done.append((points, int(r), at, held, left, rig.logged()))
    m.srcu.unlock(m.actor)
    return done, rig.left_behind()


def fields_of(host_map: KvmHostMap) -> tuple[object, ...]:
    numbers = host_map.hva, host_map.gfn, host_map.pfn, host_map.page, host_map.pinned_page
    return (*map(int, numbers), host_map.writable)


def nested_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    gfns = list(product((GFN, GFN + 1, NO_SLOT), repeat=3))
    inputs = product(get_args(Backing), ("writable", "read-only"), STATES, BOTH, gfns)
    return asked_of(MapRig, sides, inputs, ran_l2)


def ran_l2(rig: MapRig, which: str, state: PteState, logs: bool, gfns: tuple[int, int, int]) -> tuple[object, ...]:
    """run_l2(), which maps its pages, enters L2 if it may, and unmaps them."""
    rig.start(which, state, logs, "nothing")
    m = rig.m
    assert isinstance(m, X86)
    points, _ = rig.run(run_l2(m, *gfns))
    return points, rig.logged(), [int(page.data) for page in m.host.pages], rig.left_behind()


def maps(whole: bool) -> Sweep:
    """A sweep over maps."""
    return Sweep(
        "kvm_vcpu_map(), kvm_vcpu_map_readonly() and kvm_vcpu_unmap(), twice: points, result,"
        f"{' the whole map,' if whole else ''} references, PG_dirty, accessed, dirty bitmap, GUP, for every kind of"
        " memory, state of the host PTE and slot, logging or not, what goes wrong, writing or not, and what becomes of"
        " the page meanwhile",
        ("memory", "slot", "host PTE", "slot logs", "mishap", "write", "meanwhile"),
        partial(map_cases, whole),
    )


MAP: Final = maps(False)
NESTED: Final = Sweep(
    "a run of L2: points, references, PG_dirty, accessed, dirty bitmap, memory, GUP, for every kind of memory, states"
    " of the host PTE, a memslot that may be written or not, logging or not, and each of the three pages in that state,"
    " another one, or outside of memslots",
    ("memory", "slot", "host PTE", "slot logs", "pages"),
    nested_cases,
)
_MAPS: Final = (MAP, lockstep("vcpu-map"))
_NESTED: Final = (NESTED, lockstep("vcpu-map"))

MAP_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "vcpu-map-drop-null-map-check": (maps(True), lockstep("vcpu-map")),
    "vcpu-map-null-page-for-memremap": _MAPS,
    "vcpu-map-follow-pfn": _MAPS,
    "vcpu-map-writable-at-map-time": _MAPS,
    "nvmx-vmcs12-maps": _NESTED,
    "nvmx-evmcs-unmap-unconditional": _NESTED,
}
"""By patch, as SWEEPS in equivalences.py."""


def references_after_a_failed_map(sem: Semantics) -> int:
    """How many references KVM holds to a page when it has mapped and unmapped it, and then, with what that left on the
    stack for a map, tried to map what no memslot has and unmapped that although it had failed. -1: one too few."""
    m = X86(Config(), sem, 1, 1, Oracle())
    stack = KvmHostMap()
    m.srcu.lock(0)
    run(kvm_vcpu_map(m, 0, stack))
    left = KvmHostMap()
    left.page, left.hva, left.pfn, left.pinned_page = stack.page, stack.hva, stack.pfn, stack.pinned_page
    kvm_vcpu_unmap(m, stack, False)
    run(kvm_vcpu_map(m, Config().hva_pages, left))
    kvm_vcpu_unmap(m, left, False)
    page = m.host.pages[m.host.pte[0]]
    return int(page.kvm_refs + page.kvm_pins)
