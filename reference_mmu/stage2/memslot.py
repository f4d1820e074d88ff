# SPDX-License-Identifier: GPL-2.0-only
"""What exit handlers ask of a memslot before they look a page up."""

from __future__ import annotations

from mypy_extensions import i64

from ..kvm.memslots import KvmMemorySlot
from .fault import Fault
from .machine import Stage2Machine


def memslot_of_fault(m: Stage2Machine, fault: Fault) -> KvmMemorySlot | None:
    """gfn_to_hva_memslot_prot(): the slot, None if userspace sees the access as MMIO. A slot on its way out has no hva
    either. SRCU held."""
    slot = m.gfn_to_memslot(fault.gfn)
    if slot is None or slot.invalid or (fault.write and slot.readonly):
        return None
    return slot


def memslot_is_logging(slot: KvmMemorySlot) -> bool:
    """Is what the guest writes there logged? memslot_is_logging() of arm64; others spell it out."""
    return slot.log_dirty_pages and not slot.readonly


def supports_huge_mapping(m: Stage2Machine, slot: KvmMemorySlot, hva: i64) -> bool:
    """fault_supports_stage2_huge_mapping() of arm64, fault_supports_huge_mapping() of LoongArch: are gfn and hva alike
    modulo a huge page, and is the whole one in the slot?"""
    if m.root.level == 1:
        return False
    size = m.pages_per_hpage(2)
    start = hva & ~(size - 1)
    alike = (slot.base_gfn - slot.hva) & (size - 1) == 0
    return alike and slot.hva <= start and start + size <= slot.hva + slot.npages
