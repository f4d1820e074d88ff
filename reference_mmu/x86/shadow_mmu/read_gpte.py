# SPDX-License-Identifier: GPL-2.0-only
"""Reading an entry of a guest page table, and what it allows (paging_tmpl.h)."""

from __future__ import annotations

from mypy_extensions import i64

from ...mm.host import HOST_PROTNONE
from ..machine import Machine
from ..spte import ACC_WRITE_MASK, PT_DIRTY_MASK
from .gpte import GPTE_UNREADABLE


def guest_has_ad(m: Machine) -> bool:
    """PT_HAVE_ACCESSED_DIRTY(): shadow paging always has A and D, L1's EPT if L1 was offered them."""
    return not m.masks.ept or m.masks.hardware_ad


def protect_clean_gpte(m: Machine, access: i64, gpte: i64) -> i64:
    """A clean entry gives no write access: the first write has to come to KVM, which sets D on behalf of hardware."""
    if guest_has_ad(m) and (gpte & PT_DIRTY_MASK) == 0:
        return access & ~ACC_WRITE_MASK
    return access


def gfn_to_hva_prot(m: Machine, gfn: i64) -> i64:
    """kvm_vcpu_gfn_to_hva_prot(): -1 where there is no memslot."""
    slot = m.gfn_to_memslot(gfn)
    if slot is None or slot.invalid:
        return -1
    return slot.hva + gfn - slot.base_gfn


def kvm_vcpu_read_guest_atomic(m: Machine, gfn: i64, index: i64) -> i64:
    """Entry `index` of the table at gfn, GPTE_UNREADABLE if the host page is not there: under mmu_lock nobody may wait
    for it."""
    hva = gfn_to_hva_prot(m, gfn)
    if hva < 0 or m.host.pte[hva] < 0 or (m.host.flags[hva] & HOST_PROTNONE) != 0:
        return GPTE_UNREADABLE
    return m.host.words[hva * m.entries + index]
