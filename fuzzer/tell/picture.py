# SPDX-License-Identifier: GPL-2.0-only
"""A machine's state in words, so that two moments, or two machines, can be laid side by side.

Only what a reader of a story asks for: SPTEs, TLB entries, PML buffers, dirty bitmaps, memslots, host PTEs, contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fuzzer.oracle.walk import entry_range, roots_of
from fuzzer.program.words import page_range, page_word
from reference_mmu.config import Config
from reference_mmu.mm.mm import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_BUSY
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.shadow_mmu.gpte import GPTE_NX_MASK, gpte_to_gfn, is_present_gpte
from reference_mmu.x86.spte import (
    PT_ACCESSED_MASK,
    PT_DIRTY_MASK,
    PT_WRITABLE_MASK,
    VMX_EPT_ACCESS_BIT,
    VMX_EPT_DIRTY_BIT,
    is_access_track_spte,
    is_frozen_spte,
    is_last_spte,
    is_mmu_writable_spte,
    is_shadow_present_pte,
    is_writable_pte,
    spte_to_pfn,
)
from reference_mmu.x86.tlb import TLB_D, TLB_PFN_SHIFT, TLB_W

# Beyond this nobody reads a picture, and taking one after every turn would take minutes.
_PAGES_MAX: Final = 256
_BITS_MAX: Final = 4

_GPTE_FLAGS: Final = ((PT_WRITABLE_MASK, "W"), (GPTE_NX_MASK, "NX"), (PT_ACCESSED_MASK, "A"), (PT_DIRTY_MASK, "D"))
_HOST_FLAGS: Final = ((HOST_W, "W"), (HOST_D, "D"), (HOST_PROTNONE, "PROT_NONE"), (HOST_SHARED, "shared"))


def can_be_pictured(config: Config) -> bool:
    """Is the machine small enough to be shown?"""
    return config.hva_pages <= _PAGES_MAX and config.bits <= _BITS_MAX


def picture(m: Machine) -> dict[str, str]:
    """What is there, by name: {"SPTE gfn 4": "pfn 4 W MMU-W A D", "memory hva 3": "written by #2", …}."""
    return dict(_things(m))


def changes(was: dict[str, str], now: dict[str, str]) -> list[str]:
    """The difference of two pictures of one machine, a line each."""
    lines = []
    for name in dict.fromkeys([*was, *now]):
        before, after = was.get(name, ""), now.get(name, "")
        if before != after:
            lines.append(f"{name}: {before or 'none'} -> {after or 'none'}")
    return lines


def _things(m: Machine) -> Iterator[tuple[str, str]]:
    for root in roots_of(m):
        name = "" if root.pt == 0 else f" in root {root.pt}"
        yield f"root {root.pt}", "invalid" if root.invalid else "valid"
        yield from _entries(m, root, 0, name)
    yield from _guest_tables(m)
    yield from _vcpus(m)
    yield from _slots(m)
    yield from _host(m)
    if m.mmu_invalidate_in_progress:
        yield "mmu_invalidate_in_progress", str(m.mmu_invalidate_in_progress)
    yield "mmu_invalidate_seq", str(m.mmu_invalidate_seq)


def _entries(m: Machine, sp: KvmMmuPage, start: int, where: str) -> Iterator[tuple[str, str]]:
    """Leaves and frozen entries of a table and all below it; `start` is the first page that it translates."""
    span = int(m.pages_per_hpage(sp.level))
    page = page_word(m.config)
    for index in range(int(m.entries)):
        spte = int(sp.spt[index])
        first = start + index * span
        pages = page_range(first, span)
        if is_frozen_spte(spte):
            yield f"SPTE {page} {pages}{where}", "FROZEN"
        elif is_shadow_present_pte(spte) and is_last_spte(spte, sp.level):
            yield f"SPTE {page} {pages}{where}", _leaf(m, spte)
        elif is_shadow_present_pte(spte):
            yield from _entries(m, m.page_tables[int(spte_to_pfn(spte))], first, where)


def _guest_tables(m: Machine) -> Iterator[tuple[str, str]]:
    """Entries of the guest's page tables that are present, and how their shadow pages stand."""
    for slot in m.memslots if not m.root_role_direct else ():
        for gfn in range(int(slot.base_gfn), int(slot.end_gfn())):
            for index in range(int(m.entries)):
                gpte = int(m.host.words[(slot.hva + gfn - slot.base_gfn) * m.entries + index])
                if is_present_gpte(gpte):
                    flags = [name for bit, name in _GPTE_FLAGS if gpte & bit]
                    yield f"guest PTE gfn {gfn} entry {index}", " ".join([f"gfn {gpte_to_gfn(gpte)}", *flags])
    for sp in m.active_mmu_pages:
        if not sp.direct:
            state = [("unsync", sp.unsync), (f"{sp.unsync_children} unsync below", sp.unsync_children > 0)]
            words = [name for name, on in state if on] or ["in sync"]
            yield f"shadow page {sp.pt} of gfn {sp.gfn} level {sp.level}", ", ".join(words)


def _leaf(m: Machine, spte: int) -> str:
    masks = m.masks
    accessed = VMX_EPT_ACCESS_BIT if masks.ept else PT_ACCESSED_MASK
    dirty = VMX_EPT_DIRTY_BIT if masks.ept else PT_DIRTY_MASK
    flags = [
        (is_access_track_spte(masks, spte), "access-tracked"),
        (is_writable_pte(spte), "W"),
        (is_mmu_writable_spte(masks, spte), "MMU-W"),
        (spte & accessed != 0, "A"),
        (spte & dirty != 0, "D"),
    ]
    return " ".join([f"pfn {spte_to_pfn(spte)}", *(name for on, name in flags if on)])


def _vcpus(m: Machine) -> Iterator[tuple[str, str]]:
    for vcpu in m.vcpus:
        for key, entry in vcpu.tlb.items():
            first, end = entry_range(m, key)
            rights = [name for bit, name in ((TLB_W, "W"), (TLB_D, "D")) if entry & bit]
            pages = page_range(int(first), int(end - first))
            yield (
                f"TLB of vCPU{vcpu.number} {page_word(m.config)} {pages}",
                " ".join([f"pfn {entry >> TLB_PFN_SHIFT}", *rights]),
            )
        if vcpu.pml_buffer:
            yield f"PML of vCPU{vcpu.number}", "gfn " + ", ".join(str(gfn) for gfn in vcpu.pml_buffer)


def _slots(m: Machine) -> Iterator[tuple[str, str]]:
    for slot in m.memslots:
        flags = [(slot.log_dirty_pages, "logging"), (slot.readonly, "read-only"), (slot.invalid, "INVALID")]
        gfns = page_range(int(slot.base_gfn), int(slot.npages))
        yield f"memslot {slot.number}", " ".join([f"gfn {gfns}", *(name for on, name in flags if on)])
        if len(slot.dirty_bitmap):
            for gfn in range(int(slot.base_gfn), int(slot.end_gfn())):
                if m.is_dirty(slot, gfn):
                    yield f"dirty bitmap gfn {gfn}", "set"
    for gfn, count in m.tracked_gfns.items():
        yield f"write tracking gfn {gfn}", str(count)


def _host(m: Machine) -> Iterator[tuple[str, str]]:
    host = m.host
    for hva in range(int(host.n)):
        pfn = int(host.pte[hva])
        if pfn >= 0:
            flags = [name for bit, name in _HOST_FLAGS if host.flags[hva] & bit]
            marks = [(host.pages[pfn].dirty, "PG_dirty"), (host.mapping_level(hva) > 1, "huge")]
            flags.extend(name for on, name in marks if on)
            yield f"host PTE hva {hva}", " ".join([f"pfn {pfn}", *flags])
        elif pfn == PTE_BUSY:
            yield f"host PTE hva {hva}", "busy"
        stamp = int(host.contents(hva))
        yield f"memory hva {hva}", contents_words(stamp)


def contents_words(stamp: int) -> str:
    """Who wrote what has this content: stores stamp a page with their operation's uid + 1."""
    return f"written by #{stamp - 1}" if stamp else "as at the start"
