# SPDX-License-Identifier: GPL-2.0-only
"""Which page tables nobody may use any more (is_obsolete_sp() in mmu_internal.h)."""

from __future__ import annotations

from .machine import Machine
from .page_table import KvmMmuPage


def is_obsolete_sp(m: Machine, sp: KvmMmuPage) -> bool:
    """Invalid, or of an older generation of memslots (shadow MMU)."""
    return sp.invalid or (not sp.tdp_mmu_page and sp.mmu_valid_gen != m.mmu_valid_gen)
