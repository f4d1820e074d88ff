# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences about pages of a guest_memfd: which page of the file a gfn is, and who names it when it is let go of."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Final, NamedTuple

from fuzzer.prove.equivalences import lockstep
from fuzzer.prove.look_up import RESULTS, MemoryRig
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config, SlotConfig
from reference_mmu.kvm.gmem import KvmGmem
from reference_mmu.kvm.guest_memfd import GmemPage, kvm_gmem_get_pfn, kvm_gmem_populate
from reference_mmu.kvm.pfn import NO_PAGE
from reference_mmu.mm.errno import EIO
from reference_mmu.mm.host import HOST_W, Host
from reference_mmu.mm.vma import GUEST_MEMFD
from reference_mmu.observed import Observed
from reference_mmu.operations import MISHAP_NO_MEMORY
from reference_mmu.oracle import Oracle
from reference_mmu.points import MM_WAIT
from reference_mmu.x86.fault import kvm_mmu_faultin_pfn_private, kvm_mmu_finish_page_fault
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.ret_pf import RET_PF_CONTINUE, RET_PF_RETRY
from reference_mmu.x86.x86 import X86

STATES: Final = ("absent", "there", "prepared", "locked", "poisoned", "closed", "unbound", "bound elsewhere")
"""What the page that is asked for, and the file, are like."""
FAILURES: Final = ("nothing", "no memory", "not prepared")
CALLERS: Final = ("fault", "populate")
STAMP: Final = 7  # what is populated


class Geometry(NamedTuple):
    """A memslot, and where its private memory begins in the file."""

    base: int
    npages: int
    pgoff: int

    def gfns(self) -> range:
        return range(self.base, self.base + self.npages)


GEOMETRIES: Final = tuple(Geometry(*each) for each in product(range(5), range(1, 5), range(4)))
FEW_GEOMETRIES: Final = tuple(Geometry(*each) for each in product((0, 3), (1, 4), (0, 2)))


class GmemRig(MemoryRig):
    """A machine of x86 with one memslot, whose memory and file are made anew for every case by start()."""

    m: X86

    def __init__(self, semantics: Semantics, geometry: Geometry) -> None:
        slot = SlotConfig(geometry.base, geometry.npages, 0, gmem=geometry.pgoff)
        config = Config(bits=1, levels=4, vcpus=1, slots=(slot,), backing=("anon", "anon"))
        super().__init__(X86(config, semantics, 1, 1, Oracle()), "anon")

    def start(self, gfn: int, state: str, failure: str) -> KvmGmem:
        m = self.m
        config = m.config
        m.host = Host(("anon", "anon") + (GUEST_MEMFD,) * config.gmem_blocks, 1)
        m.observed = Observed(1)
        m.mishaps = MISHAP_NO_MEMORY if failure == "no memory" else 0
        m.gmem = gmem = KvmGmem(config.hva_pages, config.gmem_pages)
        (slot,) = m.memslots
        gmem.bind(slot)
        gmem.prepare_error = EIO if failure == "not prepared" else 0
        index = gfn - slot.base_gfn + slot.gmem_pgoff
        if state in ("there", "prepared", "locked", "poisoned"):
            pfn = m.host.alloc(gmem.first + index, 0)
            m.host.place(gmem.first + index, pfn, HOST_W)
            m.host.folio(pfn).locked_by = 0 if state == "locked" else -1
            if state == "prepared":
                gmem.uptodate[int(pfn)] = True
            if state == "poisoned":
                gmem.poisoned[int(pfn)] = True
        gmem.closed = state == "closed"
        if state == "unbound":
            gmem.unbind(slot)
        if state == "bound elsewhere":
            gmem.bindings[index] = slot.copy()
        return gmem

    def stopped(self, point: int) -> None:
        """A page that the flow waits for is unlocked then."""
        if point == MM_WAIT:
            for page in self.m.host.pages:
                page.locked_by = -1

    def file(self, gmem: KvmGmem) -> tuple[object, ...]:
        """The file and what is in it, index by index."""
        pages = self.m.host.pages
        held = [int(self.m.host.pte[gmem.first + index]) for index in range(gmem.pages)]
        return (
            held,
            [(int(pages[pfn].data), int(pages[pfn].locked_by), pfn in gmem.uptodate) for pfn in held if pfn >= 0],
            gmem.invalidate_lock,
        )


def rigs_of(sides: SemanticsPair, geometry: Geometry) -> tuple[GmemRig, GmemRig]:
    return GmemRig(sides.before, geometry), GmemRig(sides.after, geometry)


def index_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    for geometry in GEOMETRIES:
        rigs = rigs_of(sides, geometry)
        for gfn, caller, state, failure in product(geometry.gfns(), CALLERS, STATES, FAILURES):
            before, after = [given_out(rig, gfn, caller, state, failure) for rig in rigs]
            yield InputCase((*geometry, gfn, caller, state, failure), before, after)


def given_out(rig: GmemRig, gfn: int, caller: str, state: str, failure: str) -> tuple[object, ...]:
    """kvm_gmem_get_pfn() or kvm_gmem_populate() of two pages: points, result, which page of the file, what is left."""
    m = rig.m
    gmem = rig.start(gfn, state, failure)
    (slot,) = m.memslots
    out = GmemPage()
    m.srcu.lock(m.actor)
    m.slots_lock = caller == "populate"
    flow = kvm_gmem_populate(m, gfn, 2, STAMP) if caller == "populate" else kvm_gmem_get_pfn(m, slot, gfn, out)
    points, r = rig.run(flow)
    m.srcu.unlock(m.actor)
    index = int(m.host.pages[out.pfn].hva - gmem.first) if r == 0 and caller == "fault" else -1
    return points, int(r), index, int(out.page), rig.file(gmem), rig.left_behind()


def page_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    for geometry in FEW_GEOMETRIES:
        rigs = rigs_of(sides, geometry)
        for gfn, write, state, failure in product(geometry.gfns(), BOTH, STATES, FAILURES):
            for r in RESULTS:
                before, after = [faulted(rig, gfn, write, state, failure, r) for rig in rigs]
                yield InputCase((*geometry, gfn, write, state, failure, r), before, after)


def faulted(rig: GmemRig, gfn: int, write: bool, state: str, failure: str, result: int) -> tuple[object, ...]:
    """A private fault of x86, from the page to letting go of it: points, errno, pfn, the page that is named, and what
    is left. Before the commit no page is named; that of the pfn stands for it, none if there is an error."""
    m = rig.m
    gmem = rig.start(gfn, state, failure)
    (slot,) = m.memslots
    fault = KvmPageFault(gfn, write, False, False, False)
    fault.is_private = True
    points, r = rig.run(kvm_mmu_faultin_pfn_private(m, slot, fault))
    has_page = r == RET_PF_CONTINUE
    page = int(fault.refcounted_page)
    if not m.sem.gmem_return_struct_page:
        page = int(fault.pfn if has_page else NO_PAGE)
    held = [int(each.refcount) for each in m.host.pages]
    if has_page:
        if result != RET_PF_RETRY:
            m.read_lock()
        kvm_mmu_finish_page_fault(m, fault, result)
        if result != RET_PF_RETRY:
            m.read_unlock()
    return points, int(r), int(fault.pfn), page, bool(fault.map_writable), held, rig.file(gmem), rig.left_behind()


_GEOMETRY: Final = ("base", "npages", "pgoff", "gfn")
INDEX: Final = Sweep(
    "kvm_gmem_get_pfn() and kvm_gmem_populate(): points, result, page of the file, references, for memslots of up to 4"
    " pages at gfn 0 to 4 and page 0 to 3 of the file, every gfn, state of page and file, and what fails",
    (*_GEOMETRY, "caller", "state", "failure"),
    index_cases,
)
PAGE: Final = Sweep(
    "a private fault of x86, from the page to letting go of it: points, errno, pfn, page, references, PG_dirty,"
    " accessed, for several memslots, every gfn, state of page and file, what fails, and result of the fault",
    (*_GEOMETRY, "write", "state", "failure", "result"),
    page_cases,
)

GMEM_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "gmem-pass-index": (INDEX, lockstep("gmem")),
    "gmem-return-struct-page": (PAGE, lockstep("gmem")),
}
"""By patch, as SWEEPS in equivalences.py."""
