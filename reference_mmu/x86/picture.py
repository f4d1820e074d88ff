# SPDX-License-Identifier: GPL-2.0-only
"""What x86 has of its own, in words for the reader of a story: SPTEs, guest page tables, PML, write tracking."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

from .machine import Machine
from .shadow_mmu.gpte import GPTE_NX_MASK, gpte_to_gfn, is_present_gpte
from .spte import (
    PT_ACCESSED_MASK,
    PT_DIRTY_MASK,
    PT_WRITABLE_MASK,
    VMX_EPT_ACCESS_BIT,
    VMX_EPT_DIRTY_BIT,
    is_access_track_spte,
    is_mmu_writable_spte,
    is_writable_pte,
    spte_to_pfn,
)

_GPTE_FLAGS: Final = ((PT_WRITABLE_MASK, "W"), (GPTE_NX_MASK, "NX"), (PT_ACCESSED_MASK, "A"), (PT_DIRTY_MASK, "D"))

Words = list[tuple[str, str]]


def leaf_words(m: Machine, spte: i64) -> str:
    """A leaf: page, rights, Accessed and Dirty as the format has them."""
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
    return " ".join([f"pfn {spte_to_pfn(spte)}", *[name for on, name in flags if on]])


def state_words(m: Machine) -> Words:
    """Guest page tables with their shadow pages, PML buffers, APIC access pages, write tracking."""
    words = _guest_ptes(m) if not m.root_role_direct else []
    for sp in m.active_mmu_pages:
        if not sp.direct:
            state = [("unsync", sp.unsync), (f"{sp.unsync_children} unsync below", sp.unsync_children > 0)]
            told = [name for name, on in state if on] or ["in sync"]
            words.append((f"shadow page {sp.pt} of gfn {sp.gfn} level {sp.level}", ", ".join(told)))
    for vcpu in m.x86_vcpus:
        if vcpu.pml_buffer:
            words.append((f"PML of vCPU{vcpu.number}", "gfn " + ", ".join([str(gfn) for gfn in vcpu.pml_buffer])))
        if vcpu.apic_access_addr >= 0:
            words.append((f"APIC access page of vCPU{vcpu.number}", f"pfn {vcpu.apic_access_addr}"))
    for gfn, count in m.tracked_gfns.items():
        words.append((f"write tracking gfn {gfn}", str(count)))
    return words


def _guest_ptes(m: Machine) -> Words:
    """Entries of the guest's page tables that are present."""
    words: Words = []
    for slot in m.memslots:
        for gfn in range(slot.base_gfn, slot.end_gfn()):
            for index in range(m.entries):
                gpte = m.host.words[(slot.hva + gfn - slot.base_gfn) * m.entries + index]
                if is_present_gpte(gpte):
                    flags = [name for bit, name in _GPTE_FLAGS if gpte & bit]
                    words.append((f"guest PTE gfn {gfn} entry {index}", " ".join([f"gfn {gpte_to_gfn(gpte)}", *flags])))
    return words


def pending_words(m: Machine) -> Words:
    """Requests that vCPUs have not seen yet."""
    words: Words = []
    for v in m.x86_vcpus:
        requests = [
            (v.free_obsolete_roots, "free obsolete roots"),
            (v.mmu_sync, "sync roots"),
            (v.tlb_flush, "flush"),
            (v.apic_page_reload, "reload the APIC access page"),
            (v.update_cpu_dirty_logging, "switch PML"),
        ]
        told = [request for is_up, request in requests if is_up]
        if told:
            words.append((f"request to vCPU{v.number}", ", ".join(told)))
    return words
