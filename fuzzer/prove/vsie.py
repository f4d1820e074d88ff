# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences about the pages that s390 pins for a guest of the guest's: the pages are what a look-up returns, so
there is nothing to guess when they are unpinned."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final

from fuzzer.prove.equivalences import lockstep
from fuzzer.prove.look_up import GFN, MISHAPS, PAGE, MemoryRig, PteState, places, two_pages
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing
from reference_mmu.mm.memory import zap_contents
from reference_mmu.oracle import Oracle
from reference_mmu.s390.s390 import S390
from reference_mmu.s390.vsie import pin_guest_page, unpin_guest_page

MEANWHILE: Final = ("nothing", "written out", "thrown away", "memslot deleted")


class VsieRig(MemoryRig):
    """A machine of s390."""

    def __init__(self, semantics: Semantics, kind: Backing) -> None:
        super().__init__(S390(two_pages(kind, arch="s390"), semantics, 1, 1, Oracle()), kind)


def pin_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    rigs: dict[Backing, list[VsieRig]] = {}
    for kind, slot, state in places():
        if kind not in rigs:
            rigs[kind] = [VsieRig(semantics, kind) for semantics in sides]
        for logs, mishap, meanwhile in product(BOTH, MISHAPS, MEANWHILE):
            before, after = [pinned(rig, slot, state, logs, mishap, meanwhile) for rig in rigs[kind]]
            yield InputCase((kind, slot, state, logs, mishap, meanwhile), before, after)


def pinned(rig: VsieRig, which: str, state: PteState, logs: bool, mishap: str, meanwhile: str) -> tuple[object, ...]:
    """pin_guest_page() and, of what that got, unpin_guest_page(): points, result, what was held in between, and what
    is left."""
    m = rig.m
    host = rig.begin(state, mishap)
    slot = rig.slot(which)
    m.memslots = [] if slot is None else [slot]
    if slot is not None and logs:
        slot.log_dirty_pages = True
        slot.dirty_bitmap = m.alloc_bitmap(slot)
    m.srcu.lock(m.actor)
    points, hpa = rig.run(pin_guest_page(m, GFN))
    held = [(int(page.refcount), int(page.kvm_refs), int(page.kvm_pins)) for page in host.pages]
    if hpa >= 0:
        if meanwhile == "written out":
            host.folio(hpa).dirty = False
        elif meanwhile == "thrown away":
            zap_contents(m, PAGE)
        elif meanwhile == "memslot deleted":
            m.memslots = []
        unpin_guest_page(m, GFN, hpa)
    m.srcu.unlock(m.actor)
    logged = [m.is_dirty(slot, gfn) for gfn in (GFN, GFN + 1)] if slot is not None and logs else []
    return points, int(hpa), held, logged, rig.left_behind()


PIN: Final = Sweep(
    "pin_guest_page() and unpin_guest_page(): points, result, references, PG_dirty, accessed, dirty bitmap, GUP, for"
    " every kind of memory, state of the host PTE and slot, logging or not, what goes wrong, and what becomes of the"
    " page meanwhile",
    ("memory", "slot", "host PTE", "slot logs", "mishap", "meanwhile"),
    pin_cases,
)

VSIE_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {"s390-unpin-via-page": (PIN, lockstep("s390"))}
"""By patch, as SWEEPS in equivalences.py."""
