# SPDX-License-Identifier: GPL-2.0-only
"""Entries of guest page tables: their bits, and how KVM reads and judges them (paging_tmpl.h).

One format for all modes. What differs between them (where the bits are, what U means in an EPT) changes nothing that
the shadow MMU decides; only a guest without A/D bits is another guest, see guest_has_ad().
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from ...kvm.memslots import gfn_to_memslot
from ...mm.mm import HOST_PROTNONE
from ..spte import (
    ACC_EXEC_MASK,
    ACC_USER_MASK,
    ACC_WRITE_MASK,
    PAGE_SHIFT,
    PFN_FIELD,
    PT_ACCESSED_MASK,
    PT_DIRTY_MASK,
    PT_PRESENT_MASK,
    PT_WRITABLE_MASK,
)

if TYPE_CHECKING:
    from ..machine import Machine

# Bit 63 in hardware. Here no entry is negative, so that -1 can say that it could not be read.
GPTE_NX_MASK: Final[i64] = 1 << 9
GPTE_UNREADABLE: Final[i64] = -1


def make_gpte(gfn: i64, writable: bool, executable: bool, accessed: bool, dirty: bool) -> i64:
    """A present entry, as the guest would write it."""
    gpte = PT_PRESENT_MASK | (gfn << PAGE_SHIFT)
    if writable:
        gpte |= PT_WRITABLE_MASK
    if not executable:
        gpte |= GPTE_NX_MASK
    if accessed:
        gpte |= PT_ACCESSED_MASK
    if dirty:
        gpte |= PT_DIRTY_MASK
    return gpte


def is_present_gpte(gpte: i64) -> bool:
    return (gpte & PT_PRESENT_MASK) != 0


def gpte_to_gfn(gpte: i64) -> i64:
    return (gpte >> PAGE_SHIFT) & PFN_FIELD


def gpte_access(gpte: i64) -> i64:
    """ACC_*. Every guest page is a user page."""
    access = ACC_USER_MASK
    if (gpte & PT_WRITABLE_MASK) != 0:
        access |= ACC_WRITE_MASK
    if (gpte & GPTE_NX_MASK) == 0:
        access |= ACC_EXEC_MASK
    return access


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
    slot = gfn_to_memslot(m, gfn)
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
