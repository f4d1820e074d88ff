# SPDX-License-Identifier: GPL-2.0-only
"""An entry of a stage-2 table: one number with named bits, the same for all architectures.

What hardware has in other places, or under other names, stands here once, by what it means to KVM:

| bit       | arm64             | RISC-V          | MIPS, LoongArch          | powerpc radix   |
|-----------|-------------------|-----------------|--------------------------|-----------------|
| VALID     | PTE_VALID         | _PAGE_PRESENT   | _PAGE_PRESENT            | _PAGE_PRESENT   |
| LEAF      | type of the level | any of R, W, X  | _PAGE_HUGE, or last level| _PAGE_PTE       |
| WRITE     | S2AP_W            | _PAGE_WRITE     | _PAGE_DIRTY              | _PAGE_WRITE     |
| MAY_WRITE | none              | none            | _PAGE_WRITE              | none            |
| YOUNG     | AF                | _PAGE_ACCESSED  | _PAGE_ACCESSED           | _PAGE_ACCESSED  |
| DIRTY     | none              | _PAGE_DIRTY     | none beside WRITE        | _PAGE_DIRTY     |
| LOCKED    | PTE_LOCKED        | none            | none                     | none            |

Where hardware has no MAY_WRITE the bit is the observer's: the host let the guest write when the leaf was made, so that
a TLB entry which still does is no stale translation, only one that a dirty log has yet to flush. No flow reads it
there.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

S2_VALID: Final[i64] = 1
S2_LEAF: Final[i64] = 2  # with VALID: maps a page or a block; without it: leads to a table
S2_WRITE: Final[i64] = 4  # hardware lets the guest write
S2_MAY_WRITE: Final[i64] = 8  # WRITE may come back without the primary MMU being asked
S2_YOUNG: Final[i64] = 16
S2_DIRTY: Final[i64] = 32
S2_LOCKED: Final[i64] = 64  # without VALID: somebody is replacing the entry (KVM_INVALID_PTE_LOCKED)
S2_PFN_SHIFT: Final[i64] = 12

S2_PERMS: Final[i64] = S2_WRITE | S2_MAY_WRITE
"""What a fault on permissions may change in a leaf (KVM_PTE_LEAF_ATTR_S2_PERMS)."""


def make_leaf(pfn: i64, bits: i64) -> i64:
    """A leaf of these bits, of the page or block that begins at `pfn`."""
    return pfn << S2_PFN_SHIFT | bits | S2_VALID | S2_LEAF


def make_table(number: i64) -> i64:
    """An entry that leads to the table of that number."""
    return number << S2_PFN_SHIFT | S2_VALID


def is_leaf(pte: i64) -> bool:
    """Does it map a page or a block?"""
    return pte & (S2_VALID | S2_LEAF) == S2_VALID | S2_LEAF


def is_table(pte: i64) -> bool:
    """Does it lead to a table?"""
    return pte & (S2_VALID | S2_LEAF) == S2_VALID


def is_writable(pte: i64) -> bool:
    """Does hardware let the guest write through it?"""
    return pte & (S2_VALID | S2_WRITE) == S2_VALID | S2_WRITE


def pfn_of(pte: i64) -> i64:
    """The page, or the number of the table, that a valid entry leads to."""
    return pte >> S2_PFN_SHIFT
