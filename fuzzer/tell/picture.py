# SPDX-License-Identifier: GPL-2.0-only
"""A machine's state in words, so that two moments, or two machines, can be laid side by side.

Only what a reader of a story asks for: SPTEs, TLB entries, PML buffers, dirty bitmaps, memslots, host PTEs, contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fuzzer.program.words import page_range, page_word
from reference_mmu.config import Config
from reference_mmu.kvm.observer import (
    MMU_INVALIDATE_SEQ_MAX,
    MMU_INVALIDATE_SEQ_START,
    PTE_FROZEN,
    PTE_LEAF,
    PTE_TABLE,
)
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vcpu import TLB_D, TLB_PFN_SHIFT, TLB_W
from reference_mmu.kvm.vm import Vm
from reference_mmu.mm.host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_BUSY

# Beyond this nobody reads a picture, and taking one after every turn would take minutes.
_PAGES_MAX: Final = 256
_BITS_MAX: Final = 4

_HOST_FLAGS: Final = ((HOST_W, "W"), (HOST_D, "D"), (HOST_PROTNONE, "PROT_NONE"), (HOST_SHARED, "shared"))


def can_be_pictured(config: Config) -> bool:
    """Is the machine small enough to be shown?"""
    return config.hva_pages <= _PAGES_MAX and config.bits <= _BITS_MAX


def picture(m: Vm) -> dict[str, str]:
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


def _things(m: Vm) -> Iterator[tuple[str, str]]:
    for root in m.roots():
        name = "" if root.pt == 0 else f" in root {root.pt}"
        yield f"root {root.pt}", "invalid" if m.invalid(root) else "valid"
        yield from _entries(m, root, 0, name)
    yield from _vcpus(m)
    yield from m.state_words()
    yield from _slots(m)
    yield from _host(m)
    if m.mmu_invalidate_in_progress:
        yield "mmu_invalidate_in_progress", str(m.mmu_invalidate_in_progress)
    ended = (m.mmu_invalidate_seq - MMU_INVALIDATE_SEQ_START) & MMU_INVALIDATE_SEQ_MAX
    yield "mmu_invalidate_seq", str(ended)


def _entries(m: Vm, sp: PageTable, start: int, where: str) -> Iterator[tuple[str, str]]:
    """Leaves and frozen entries of a table and all below it; `start` is the first page that it translates."""
    span = int(m.pages_per_hpage(sp.level))
    page = page_word(m.config)
    for index in range(int(m.entries)):
        spte = int(sp.spt[index])
        first = start + index * span
        pages = page_range(first, span)
        kind = m.pte_kind(spte, sp.level)
        if kind == PTE_FROZEN:
            yield f"SPTE {page} {pages}{where}", "FROZEN"
        elif kind == PTE_LEAF:
            yield f"SPTE {page} {pages}{where}", m.leaf_words(spte)
        elif kind == PTE_TABLE:
            yield from _entries(m, m.table(m.pte_pfn(spte)), first, where)


def _vcpus(m: Vm) -> Iterator[tuple[str, str]]:
    for vcpu in m.vcpus:
        for key, entry in vcpu.tlb.items():
            first, end = m.entry_range(key)
            rights = [name for bit, name in ((TLB_W, "W"), (TLB_D, "D")) if entry & bit]
            pages = page_range(int(first), int(end - first))
            yield (
                f"TLB of vCPU{vcpu.number} {page_word(m.config)} {pages}",
                " ".join([f"pfn {entry >> TLB_PFN_SHIFT}", *rights]),
            )


def _slots(m: Vm) -> Iterator[tuple[str, str]]:
    for slot in m.memslots:
        flags = [(slot.log_dirty_pages, "logging"), (slot.readonly, "read-only"), (slot.invalid, "INVALID")]
        gfns = page_range(int(slot.base_gfn), int(slot.npages))
        yield f"memslot {slot.number}", " ".join([f"gfn {gfns}", *(name for on, name in flags if on)])
        if len(slot.dirty_bitmap):
            for gfn in range(int(slot.base_gfn), int(slot.end_gfn())):
                if m.is_dirty(slot, gfn):
                    yield f"dirty bitmap gfn {gfn}", "set"


def _host(m: Vm) -> Iterator[tuple[str, str]]:
    host = m.host
    for hva in range(int(host.n)):
        pfn = int(host.pte[hva])
        index = hva - m.config.hva_pages
        if index >= 0:  # of a guest_memfd
            if pfn >= 0:
                yield f"guest_memfd {index}", f"pfn {pfn}, {contents_words(int(host.contents(hva)))}"
            continue
        if pfn >= 0:
            flags = [name for bit, name in _HOST_FLAGS if host.flags[hva] & bit]
            marks = [(host.folio(pfn).dirty, "PG_dirty"), (host.mapping_level(hva) > 1, "huge")]
            flags.extend(name for on, name in marks if on)
            yield f"host PTE hva {hva}", " ".join([f"pfn {pfn}", *flags])
        elif pfn == PTE_BUSY:
            yield f"host PTE hva {hva}", "busy"
        stamp = int(host.contents(hva))
        yield f"memory hva {hva}", contents_words(stamp)


def contents_words(stamp: int) -> str:
    """Who wrote what has this content: stores stamp a page with their operation's uid + 1."""
    return f"written by #{stamp - 1}" if stamp else "as at the start"
