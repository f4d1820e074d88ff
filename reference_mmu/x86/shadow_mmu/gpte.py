# SPDX-License-Identifier: GPL-2.0-only
"""Entries of guest page tables: their bits, and how KVM reads and judges them (paging_tmpl.h).

One format for all modes. What differs between them (where the bits are, what U means in an EPT) changes nothing that
the shadow MMU decides; only a guest without A/D bits is another guest, see guest_has_ad().
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

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
