# SPDX-License-Identifier: GPL-2.0-only
"""Every look-up of a page, and every way to let go of it: the domain over which proofs about them go.

A case is a kind of memory, the state of its host PTE, what the caller asks for, and what goes wrong meanwhile. All of
it stands alone on the machine: a page that is locked is unlocked when the look-up waits for it. What becomes of
look-ups that others come between, sweeps in lockstep ask.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import product
from typing import Any, Final, NamedTuple, get_args

from fuzzer.prove.inputs import run
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Backing, Config, SlotConfig
from reference_mmu.kvm.faultin import Faultin, best_look_up, gfn_to_page
from reference_mmu.kvm.follow_pfn import KvmFollowPfn, hva_to_pfn_fast, kvm_follow_pfn
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.kvm.pfn import KVM_PFN_ERR_NEEDS_IO, NO_PAGE, is_error_noslot_pfn
from reference_mmu.kvm.release import kvm_pfn_to_refcounted_page
from reference_mmu.kvm.vm import Vm
from reference_mmu.mm.errno import EFAULT, EINTR
from reference_mmu.mm.gup import FOLL_INTERRUPTIBLE, FOLL_NOWAIT, FOLL_WRITE
from reference_mmu.mm.host import (
    HOST_D,
    HOST_PROTNONE,
    HOST_SHARED,
    HOST_W,
    PTE_BUSY,
    PTE_HWPOISON,
    PTE_NONE,
    PTE_SWAP,
    Host,
)
from reference_mmu.mm.vma import KINDS
from reference_mmu.observed import COUNT_PAGE_LOOKUPS, OP_COUNTERS, Observed
from reference_mmu.operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_SIGNAL
from reference_mmu.oracle import Oracle
from reference_mmu.points import GUP_WAIT
from reference_mmu.x86.apic_access_page import APIC_ACCESS_PAGE_PRIVATE_MEMSLOT, kvm_vcpu_reload_apic_access_page
from reference_mmu.x86.fault import __kvm_mmu_faultin_pfn as x86_faultin
from reference_mmu.x86.fault import kvm_mmu_finish_page_fault
from reference_mmu.x86.page_fault import KvmPageFault
from reference_mmu.x86.ret_pf import (
    RET_PF_EMULATE,
    RET_PF_FIXED,
    RET_PF_RETRY,
    RET_PF_SPURIOUS,
    RET_PF_WRITE_PROTECTED,
)
from reference_mmu.x86.shadow_mmu.gpte import make_gpte
from reference_mmu.x86.shadow_mmu.paging_tmpl import prefetch_gpte
from reference_mmu.x86.x86 import X86

MISHAPS: Final = {
    "nothing": 0,
    "signal": MISHAP_SIGNAL,
    "killed": MISHAP_KILLED,
    "killed at the first try": MISHAP_KILLED_NOWAIT,
}
PTE_BITS: Final = {HOST_W: "W", HOST_D: "D", HOST_PROTNONE: "PROTNONE", HOST_SHARED: "shared"}
SLOTS: Final = ("writable", "read-only", "invalid", "none")
PAGE: Final = 2  # the address that is looked up
GFN: Final = 4  # of that address, the first of the memslot. 0 would hide that one of the two was forgotten


class PteState(NamedTuple):
    """What the host PTE of the address becomes: `pte`, a PTE_* or "mapped" for the page that is there; and flags."""

    pte: int | str
    flags: int = 0

    def __str__(self) -> str:
        absent = {PTE_NONE: "none", PTE_SWAP: "swapped", PTE_BUSY: "locked", PTE_HWPOISON: "poisoned"}
        if isinstance(self.pte, int):
            return absent[self.pte]
        return " ".join([self.pte, *(name for bit, name in PTE_BITS.items() if self.flags & bit)])


PTE_STATES: Final = (
    *(PteState("mapped", sum(bits)) for bits in product(*((0, int(bit)) for bit in PTE_BITS))),
    PteState("in the swap cache"),
    PteState("without VMA"),
    PteState(PTE_NONE),
    PteState(PTE_SWAP),
    PteState(PTE_BUSY),
    PteState(PTE_HWPOISON),
)


def two_pages(kind: Backing, **fields: Any) -> Config:
    """A machine with one memslot, of two pages of one kind of memory."""
    slot = SlotConfig(base=GFN, npages=2, hva=PAGE)
    return Config(bits=1, vcpus=1, slots=(slot,), backing=(kind, kind), **fields)


class MemoryRig:
    """A machine of two_pages(), whichever it is; its memory is made anew for every case by begin()."""

    def __init__(self, m: Vm, kind: Backing) -> None:
        self.m = m
        self.kind = kind

    def begin(self, state: PteState, mishap: str = "nothing") -> Host:
        m = self.m
        m.host = host = Host((self.kind, self.kind), 1)
        m.observed = Observed(1)
        m.mishaps = MISHAPS[mishap]
        set_state(host, state)
        return host

    def slot(self, which: str) -> KvmMemorySlot | None:
        if which == "none":
            return None
        slot = KvmMemorySlot(0, GFN, 2, PAGE, which == "read-only")
        slot.invalid = which == "invalid"
        return slot

    def run(self, flow: Generator[int, None, Any]) -> tuple[list[int], Any]:
        """Run a flow to its end, as of inputs.run(); what it waits for is over when it does."""
        return run(flow, self.stopped)

    def stopped(self, point: int) -> None:
        """Whoever has locked the page unlocks it when the flow waits for that."""
        host = self.m.host
        if point == GUP_WAIT:
            host.remap(PAGE, host.swap_cache[PAGE], HOST_W)

    def left_behind(self) -> tuple[object, ...]:
        """Events, costs, and the state of host PTEs and pages, what KVM holds of them included; look-ups by pfn aside,
        which those who know their page save."""
        m = self.m
        host = m.host
        costs = [int(count) for at, count in enumerate(m.observed.counters) if at % OP_COUNTERS != COUNT_PAGE_LOOKUPS]
        pages = [
            (int(page.refcount), int(page.kvm_refs), int(page.kvm_pins), page.dirty, int(page.accessed), page.freed)
            for page in host.pages
        ]
        ptes = [(int(host.pte[hva]), int(host.flags[hva]), int(host.swap_cache[hva])) for hva in range(host.n)]
        return m.observed.all_events(), costs, pages, ptes


def set_state(host: Host, state: PteState) -> None:
    """Let the host PTE of PAGE be in that state, as if it had come to be long ago; a right that its VMA does not give
    included."""
    pfn = host.pte[PAGE]
    if pfn < 0 and (isinstance(state.pte, str) or state.pte == PTE_BUSY):
        pfn = host.alloc(PAGE, 0)  # somebody has touched it since
        host.pages[pfn].has_struct = KINDS[host.backing[PAGE // host.block]].has_struct
    if state.pte == "mapped":
        host.place(PAGE, pfn, state.flags)
    elif state.pte == "in the swap cache":
        host.pte[PAGE], host.flags[PAGE], host.swap_cache[PAGE] = PTE_NONE, 0, pfn
    else:
        absent = PTE_NONE if isinstance(state.pte, str) else state.pte
        host.pte[PAGE], host.flags[PAGE] = absent, 0
        host.swap_cache[PAGE] = pfn if absent == PTE_BUSY else -1
        if pfn >= 0 and absent != PTE_BUSY and host.folio(pfn).refcount > 0:
            host.put(pfn)
        if state.pte == "without VMA":
            host.vm_flags[PAGE // host.block] = 0


class LookUpRig(MemoryRig):
    """A machine of x86."""

    m: X86

    def __init__(self, semantics: Semantics, kind: Backing) -> None:
        super().__init__(X86(two_pages(kind, mmu="shadow"), semantics, 1, 1, Oracle()), kind)


def asked_of(
    rig: Callable[[Semantics, Backing], MemoryRig], sides: SemanticsPair, inputs: Iterable[tuple[Any, ...]], ask: Any
) -> Iterator[InputCase]:
    """Each input, (kind, ...), asked of a machine of either side, one for each kind of memory."""
    rigs: dict[Backing, tuple[MemoryRig, MemoryRig]] = {}
    for kind, *rest in inputs:
        if kind not in rigs:
            rigs[kind] = rig(sides.before, kind), rig(sides.after, kind)
        before, after = rigs[kind]
        yield InputCase((kind, *rest), ask(before, *rest), ask(after, *rest))


# --- look-ups ----------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What a caller asks for. `variable`: what its `writable` holds before, None: it has none."""

    write: bool
    nowait: bool
    interruptible: bool
    pin: bool
    upgrade_fails: bool
    variable: bool | None

    def foll(self) -> int:
        flags = FOLL_WRITE if self.write else 0
        flags |= FOLL_NOWAIT if self.nowait else 0
        return int(flags | FOLL_INTERRUPTIBLE if self.interruptible else flags)

    def __str__(self) -> str:
        flags = ("write", "nowait", "interruptible", "pin", "upgrade_fails")
        held = "no variable" if self.variable is None else f"writable {self.variable} before"
        return " ".join([*(flag for flag in flags if getattr(self, flag)), held])


def all_asked(variables: tuple[bool | None, ...], pins: bool) -> Iterator[Asked]:
    """Whatever makes a difference: the attempt at a writable page is made for a read with a variable alone, and who
    pins has none."""
    for write, nowait, interruptible in product(BOTH, BOTH, BOTH):
        for variable in variables:
            for fails in (False,) if write or variable is None else BOTH:
                yield Asked(write, nowait, interruptible, False, fails, variable)
        if pins:
            yield Asked(write, nowait, interruptible, True, False, None)


def places() -> Iterator[tuple[Backing, str, PteState]]:
    """Without a usable slot nobody looks at the memory: one kind and state stand for all."""
    yield from product(get_args(Backing), SLOTS[:2], PTE_STATES)
    yield from (("anon", slot, PTE_STATES[0]) for slot in SLOTS[2:])


def compared(sides: SemanticsPair, inputs: Iterable[tuple[Any, ...]], ask: Any) -> Iterator[InputCase]:
    """Each input, (kind, ...), asked of a LookUpRig of either side."""
    return asked_of(LookUpRig, sides, inputs, ask)


def outcome(pfn: int, needs_io: bool, writable: bool) -> tuple[object, ...]:
    """What a caller goes by: the code of an error says all, and one that says "I/O" is told in two ways."""
    if needs_io:
        return ("needs I/O",)
    return ("error", pfn) if is_error_noslot_pfn(pfn) else ("page", pfn, writable)


def follow_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """kvm_follow_pfn() for whoever may call it; pins are older than vcpu-map-foll-pin nowhere."""
    pins = all(semantics.vcpu_map_foll_pin for semantics in sides)
    asked = list(all_asked((None, False, True), pins))
    return compared(sides, ((*place, a, mishap) for place in places() for a in asked for mishap in MISHAPS), followed)


def followed(rig: LookUpRig, slot: str, state: PteState, asked: Asked, mishap: str) -> tuple[object, ...]:
    rig.begin(state, mishap)
    kfp = follow_pfn_as(asked, rig.slot(slot))
    points, pfn = rig.run(kvm_follow_pfn(rig.m, kfp))
    needs_io = kfp.async_io or pfn == KVM_PFN_ERR_NEEDS_IO
    told = outcome(pfn, needs_io, asked.variable is not None and kfp.map_writable)
    return points, told, int(kfp.refcounted_page), rig.left_behind()


def follow_pfn_as(asked: Asked, slot: KvmMemorySlot | None) -> KvmFollowPfn:
    kfp = KvmFollowPfn(slot, GFN, asked.foll())
    kfp.pin = asked.pin
    kfp.offers = asked.variable is not None
    kfp.map_writable = bool(asked.variable)
    kfp.upgrade_fails = asked.upgrade_fails
    kfp.refcounted_page = PAGE  # what its caller's stack held
    return kfp


def fast_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """hva_to_pfn_fast() alone, which no slot and no mishap reaches."""
    asked = list(all_asked((None, False), all(semantics.vcpu_map_foll_pin for semantics in sides)))
    return compared(sides, product(get_args(Backing), PTE_STATES, asked), taken_fast)


def taken_fast(rig: LookUpRig, state: PteState, asked: Asked) -> tuple[object, ...]:
    rig.begin(state)
    return int(hva_to_pfn_fast(rig.m, follow_pfn_as(asked, rig.slot("writable")))), rig.left_behind()


def x86_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """Both tries of a fault of x86. Whether the page has been given out does not count, what KVM holds of it does."""
    tries = [(write, fails) for write in BOTH for fails in BOTH if not (write and fails)]
    inputs = ((*place, *a, mishap) for place in places() if place[1] != "none" for a in tries for mishap in MISHAPS)
    return compared(sides, inputs, faulted_in)


def faulted_in(
    rig: LookUpRig, slot: str, state: PteState, write: bool, upgrade_fails: bool, mishap: str
) -> tuple[object, ...]:
    rig.begin(state, mishap)
    fault = KvmPageFault(GFN, write, False, False, upgrade_fails)
    memslot = rig.slot(slot)
    assert memslot is not None
    m = rig.m
    points, _ = rig.run(x86_faultin(m, memslot, fault))
    page = int(fault.refcounted_page)
    if not m.sem.x86_convert_to_faultin_pfn and not is_error_noslot_pfn(fault.pfn):
        page = int(kvm_pfn_to_refcounted_page(m, fault.pfn))  # nobody names it yet: who releases the pfn guesses
    told = outcome(fault.pfn, fault.pfn == KVM_PFN_ERR_NEEDS_IO, fault.map_writable)
    return points, told, page, rig.left_behind()


def entry_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """The look-up of a fault, by __kvm_faultin_pfn() where that is there, else by __gfn_to_pfn_memslot()."""
    asked = list(all_asked((False,), pins=False))
    return compared(sides, ((*place, a, mishap) for place in places() for a in asked for mishap in MISHAPS), entered)


def entered(rig: LookUpRig, slot: str, state: PteState, asked: Asked, mishap: str) -> tuple[object, ...]:
    rig.begin(state, mishap)
    out = Faultin(False, asked.upgrade_fails)
    points, pfn = rig.run(best_look_up(rig.m, rig.slot(slot), GFN, asked.foll(), out))
    return points, outcome(pfn, out.needs_io, out.writable), int(out.page), rig.left_behind()


def page_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """gfn_to_page(), for writing."""
    return compared(sides, ((*place, mishap) for place in places() for mishap in MISHAPS), page_found)


def page_found(rig: LookUpRig, slot: str, state: PteState, mishap: str) -> tuple[object, ...]:
    rig.begin(state, mishap)
    points, page = rig.run(gfn_to_page(rig.m, rig.slot(slot), GFN, True))
    return points, int(page), rig.left_behind()


# --- the APIC access page ----------------------------------------------------------------------------------------

# KVM maps it itself, as anonymous memory; what becomes of that later, the host decides.
APIC_MEMORY: Final[tuple[Backing, ...]] = ("anon", "cow", "ksm", "untouched", "swapped", "hwpoison")


def apic_page_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """kvm_vcpu_reload_apic_access_page(), where an invalidation is in progress or not."""
    slots = ("writable", "invalid", "none")
    return compared(sides, product(APIC_MEMORY, slots, PTE_STATES, BOTH, BOTH, MISHAPS), apic_page_reloaded)


def apic_page_reloaded(
    rig: LookUpRig, which: str, state: PteState, stale: bool, was_set: bool, mishap: str
) -> tuple[object, ...]:
    m = rig.m
    rig.begin(state, mishap)
    slot = rig.slot(which)
    m.memslots = []
    if slot is not None:
        slot.number = APIC_ACCESS_PAGE_PRIVATE_MEMSLOT
        m.memslots.append(slot)
    m.mmu_invalidate_in_progress = int(stale)
    m.mmu_invalidate_range_start, m.mmu_invalidate_range_end = GFN, GFN + 1
    vcpu = m.x86_vcpus[0]
    vcpu.virtualizes_apic_accesses = vcpu.apic_page_reload = True
    vcpu.apic_access_addr = 0 if was_set else NO_PAGE
    points, _ = rig.run(kvm_vcpu_reload_apic_access_page(m, vcpu))
    return points, int(vcpu.apic_access_addr), vcpu.apic_page_reload, rig.left_behind()


# --- prefetch ----------------------------------------------------------------------------------------------------


def prefetch_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """prefetch_gpte() of an indirect MMU, for an entry that is absent and once more for the same one."""
    return compared(sides, product(get_args(Backing), PTE_STATES, SLOTS, BOTH, BOTH), prefetched)


def prefetched(rig: LookUpRig, state: PteState, which: str, logs: bool, writable: bool) -> tuple[object, ...]:
    m = rig.m
    rig.begin(state)
    slot = rig.slot(which)
    m.memslots = [] if slot is None else [slot]
    if slot is not None:
        m.kvm_arch_prepare_memory_region(slot)
        slot.log_dirty_pages = logs
    sp = m.alloc_table(1, 0, None)
    m.write_lock()
    done = [rig.run(prefetch_gpte(m, sp, 0, make_gpte(GFN, writable, True, True, True))) for _ in range(2)]
    m.write_unlock()
    m.rmap.clear()
    return done, [int(spte) for spte in sp.spt], rig.left_behind()


# --- release -----------------------------------------------------------------------------------------------------

# With which a fault may end: RET_PF_*, or an errno.
RESULTS: Final = (
    RET_PF_RETRY,
    RET_PF_EMULATE,
    RET_PF_WRITE_PROTECTED,
    RET_PF_FIXED,
    RET_PF_SPURIOUS,
    -int(EFAULT),
    -int(EINTR),
)


def release_cases(sides: SemanticsPair) -> Iterator[InputCase]:
    """kvm_mmu_finish_page_fault(), with mmu_lock and, where the fault is to be retried, without it."""
    inputs = (
        (kind, r, map_writable, page, locked)
        for kind, r, map_writable, page, locked in product(get_args(Backing), RESULTS, BOTH, BOTH, BOTH)
        if locked or r == RET_PF_RETRY
    )
    return compared(sides, inputs, finished)


def finished(rig: LookUpRig, r: int, map_writable: bool, has_page: bool, locked: bool) -> tuple[object, ...]:
    m = rig.m
    host = rig.begin(PteState("mapped", HOST_W))
    fault = KvmPageFault(GFN, True, False, False, False)
    fault.pfn, fault.map_writable = host.pte[PAGE], map_writable
    if has_page:
        host.get(fault.pfn)
        fault.refcounted_page = fault.pfn
    if locked:
        m.write_lock()
    kvm_mmu_finish_page_fault(m, fault, r)
    if locked:
        m.write_unlock()
    return int(fault.refcounted_page), rig.left_behind()


# --- what there is to claim --------------------------------------------------------------------------------------

_PLACE: Final = ("memory", "slot", "host PTE")
_EVERYWHERE: Final = (
    "every kind of memory, state of the host PTE and slot, whether it writes, may wait or be interrupted, and what goes"
    " wrong"
)


FOLLOW: Final = Sweep(
    f"kvm_follow_pfn(): points, pfn or error, writable, page, references, GUP, for {_EVERYWHERE}; whatever the caller's"
    " variable held, or none, or a pin",
    (*_PLACE, "asked", "mishap"),
    follow_cases,
)
FAULT: Final = Sweep(
    f"both tries of an x86 fault: points, pfn or error, map_writable, page, references, GUP, for {_EVERYWHERE}",
    (*_PLACE, "write", "upgrade fails", "mishap"),
    x86_cases,
)
ENTRY: Final = Sweep(
    f"__kvm_faultin_pfn() against __gfn_to_pfn_memslot(): the same, and the page, for {_EVERYWHERE}",
    (*_PLACE, "asked", "mishap"),
    entry_cases,
)
APIC_PAGE: Final = Sweep(
    "kvm_vcpu_reload_apic_access_page(): points, VMCS, request, references, marks, GUP, WARNs, for every kind of"
    " anonymous memory, slot, state of the host PTE, stale or not, VMCS written before or not, and what goes wrong",
    ("memory", "slot", "host PTE", "stale", "VMCS written", "mishap"),
    apic_page_cases,
)
FAST: Final = Sweep(
    "hva_to_pfn_fast(): page, references, GUP, for every kind of memory and state of the host PTE, whether it writes,"
    " may wait or be interrupted, pins, or has a variable for `writable`",
    ("memory", "host PTE", "asked"),
    fast_cases,
)
PAGE_TO_WRITE: Final = Sweep(
    "gfn_to_page() for writing: points, page, references, GUP, for every kind of memory, state of the host PTE and"
    " slot, and what goes wrong",
    (*_PLACE, "mishap"),
    page_cases,
)
PREFETCH: Final = Sweep(
    "prefetch_gpte(): result, points, SPTEs, references, marks, GUP, for every kind of memory, state of the host PTE"
    " and slot, logging or not, an entry that lets write or not, twice",
    ("memory", "host PTE", "slot", "slot logs", "writable"),
    prefetch_cases,
)
RELEASE: Final = Sweep(
    "kvm_mmu_finish_page_fault(): references, PG_dirty, accessed, for every kind of memory, result of the fault,"
    " map_writable, with and without a page, mmu_lock held or, for a retry, not",
    ("memory", "result", "map_writable", "page", "locked"),
    release_cases,
)
