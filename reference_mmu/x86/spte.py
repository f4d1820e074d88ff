# SPDX-License-Identifier: GPL-2.0-only
"""SPTE bits and the functions that judge them (arch/x86/kvm/mmu/spte.h, spte.c); make_spte.py makes them.

An SPTE is an i64.  Bit 63 is the sign: SHADOW_NONPRESENT_VALUE is negative, which compiled and interpreted code
agree on.  Bits are those of the hardware; memory type, IPAT and suppress-#VE of present EPT entries are left out.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from ..changelog.semantics import Semantics
from .page_table import KvmMmuPage

PG_LEVEL_4K: Final[i64] = 1
PG_LEVEL_2M: Final[i64] = 2
PG_LEVEL_1G: Final[i64] = 3
PG_LEVEL_NUM: Final[i64] = 4  # above every level: clamps nothing

PAGE_SHIFT: Final[i64] = 12
PFN_FIELD: Final[i64] = (1 << 40) - 1

PT_WRITABLE_MASK: Final[i64] = 1 << 1
PT_PAGE_SIZE_MASK: Final[i64] = 1 << 7
SPTE_MMU_PRESENT_MASK: Final[i64] = 1 << 11

VMX_EPT_READABLE_MASK: Final[i64] = 1 << 0
VMX_EPT_EXECUTABLE_MASK: Final[i64] = 1 << 2
VMX_EPT_RWX_MASK: Final[i64] = 0b111
VMX_EPT_ACCESS_BIT: Final[i64] = 1 << 8
VMX_EPT_DIRTY_BIT: Final[i64] = 1 << 9

PT_PRESENT_MASK: Final[i64] = 1 << 0
PT_USER_MASK: Final[i64] = 1 << 2
PT_ACCESSED_MASK: Final[i64] = 1 << 5
PT_DIRTY_MASK: Final[i64] = 1 << 6

# A/D type of an SPTE; only EPT has more than "enabled".
SPTE_TDP_AD_MASK: Final[i64] = 3 << 52
SPTE_TDP_AD_ENABLED: Final[i64] = 0 << 52
SPTE_TDP_AD_DISABLED: Final[i64] = 1 << 52
SPTE_TDP_AD_WRPROT_ONLY: Final[i64] = 2 << 52

# R and X of an access-tracked SPTE are kept 54 bits higher.
SHADOW_ACC_TRACK_SAVED_BITS_SHIFT: Final[i64] = 54
SHADOW_ACC_TRACK_SAVED_BITS_MASK: Final[i64] = VMX_EPT_READABLE_MASK | VMX_EPT_EXECUTABLE_MASK
SHADOW_ACC_TRACK_SAVED_MASK: Final[i64] = SHADOW_ACC_TRACK_SAVED_BITS_MASK << SHADOW_ACC_TRACK_SAVED_BITS_SHIFT

EPT_SPTE_HOST_WRITABLE: Final[i64] = 1 << 57
EPT_SPTE_MMU_WRITABLE: Final[i64] = 1 << 58
DEFAULT_SPTE_HOST_WRITABLE: Final[i64] = 1 << 9
DEFAULT_SPTE_MMU_WRITABLE: Final[i64] = 1 << 10

SHADOW_NONPRESENT_VALUE: Final[i64] = -(1 << 63)
FROZEN_SPTE: Final[i64] = SHADOW_NONPRESENT_VALUE | 0x5A0

ACC_EXEC_MASK: Final[i64] = 1
ACC_WRITE_MASK: Final[i64] = 2
ACC_USER_MASK: Final[i64] = 4
ACC_ALL: Final[i64] = 7


@mypyc_attr(acyclic=True, free_list_len=1)
class SpteMasks:
    """The shadow_*_mask globals of spte.c for one configuration, set as kvm_mmu_set_ept_masks() or, for NPT and
    shadow paging, kvm_mmu_reset_all_pte_masks() would."""

    def __init__(self, paging: str, sem: Semantics) -> None:
        self.sem = sem
        ept = paging != "npt"
        has_ad_bits = paging != "ept-noad"
        self.ept = ept
        # What the CPU does, whatever KVM believes.
        self.hardware_ad = has_ad_bits
        self.shadow_present_mask: i64 = VMX_EPT_READABLE_MASK if ept else PT_PRESENT_MASK
        self.shadow_user_mask: i64 = 0 if ept else PT_USER_MASK
        self.shadow_x_mask: i64 = VMX_EPT_EXECUTABLE_MASK if ept else 0
        self.shadow_acc_track_mask: i64 = VMX_EPT_RWX_MASK if ept else 0
        self.shadow_host_writable_mask: i64 = EPT_SPTE_HOST_WRITABLE if ept else DEFAULT_SPTE_HOST_WRITABLE
        self.shadow_mmu_writable_mask: i64 = EPT_SPTE_MMU_WRITABLE if ept else DEFAULT_SPTE_MMU_WRITABLE
        self.shadow_accessed_mask: i64 = PT_ACCESSED_MASK
        self.shadow_dirty_mask: i64 = PT_DIRTY_MASK
        if ept:
            self.shadow_accessed_mask = VMX_EPT_ACCESS_BIT if has_ad_bits or sem.ept_accessed_mask_always else 0
            self.shadow_dirty_mask = VMX_EPT_DIRTY_BIT if has_ad_bits or sem.ept_dirty_mask_always else 0
        self.kvm_ad_enabled_flag = has_ad_bits
        # Hardware bits: what the page walker sets, independent of KVM's software use of them.
        self.hw_accessed: i64 = (VMX_EPT_ACCESS_BIT if ept else PT_ACCESSED_MASK) if has_ad_bits else 0
        self.hw_dirty: i64 = (VMX_EPT_DIRTY_BIT if ept else PT_DIRTY_MASK) if has_ad_bits else 0

    def kvm_ad_enabled(self) -> bool:
        """Are A/D bits enabled at module level?"""
        if self.sem.dedicated_ad_enabled_flag:
            return self.kvm_ad_enabled_flag
        return self.shadow_accessed_mask != 0


def is_shadow_present_pte(spte: i64) -> bool:
    """KVM's notion of "maps memory": says nothing about R, W, X (an access-tracked EPT leaf has none)."""
    return (spte & SPTE_MMU_PRESENT_MASK) != 0


def is_frozen_spte(spte: i64) -> bool:
    # FROZEN_SPTE is no literal of compiled code: it is an object, and only asked where the low bits fit.
    return (spte & 0xFFF) == 0x5A0 and spte == FROZEN_SPTE


def is_last_spte(spte: i64, level: i64) -> bool:
    """True for a leaf: a 4K entry, or one with the page-size bit."""
    return level == PG_LEVEL_4K or (spte & PT_PAGE_SIZE_MASK) != 0


def is_writable_pte(spte: i64) -> bool:
    return (spte & PT_WRITABLE_MASK) != 0


def spte_to_pfn(spte: i64) -> i64:
    return (spte >> PAGE_SHIFT) & PFN_FIELD


def is_mmu_writable_spte(masks: SpteMasks, spte: i64) -> bool:
    return (spte & masks.shadow_mmu_writable_mask) != 0


def spte_ad_enabled(spte: i64) -> bool:
    return (spte & SPTE_TDP_AD_MASK) != SPTE_TDP_AD_DISABLED


def spte_ad_need_write_protect(spte: i64) -> bool:
    """Dirty logging has to use W: no D bit, or PML would log L2 addresses."""
    return (spte & SPTE_TDP_AD_MASK) != SPTE_TDP_AD_ENABLED


def is_access_track_spte(masks: SpteMasks, spte: i64) -> bool:
    return not spte_ad_enabled(spte) and (spte & masks.shadow_acc_track_mask) == 0


def spte_shadow_accessed_mask(masks: SpteMasks, spte: i64) -> i64:
    """The Accessed mask of an SPTE whose A/D type says that hardware uses it (removed by sw-accessed-when-ad-off)."""
    return masks.shadow_accessed_mask if spte_ad_enabled(spte) else 0


def spte_shadow_dirty_mask(masks: SpteMasks, spte: i64) -> i64:
    """The same for Dirty (removed by sw-dirty-when-ad-off)."""
    return masks.shadow_dirty_mask if spte_ad_enabled(spte) else 0


def is_accessed_spte(masks: SpteMasks, spte: i64) -> bool:
    """Was the page accessed since it was last aged, as far as this SPTE knows?"""
    if masks.sem.sw_accessed_when_ad_off:
        return (spte & masks.shadow_accessed_mask) != 0
    accessed_mask = spte_shadow_accessed_mask(masks, spte)
    return (spte & accessed_mask) != 0 if accessed_mask else not is_access_track_spte(masks, spte)


def is_dirty_spte(masks: SpteMasks, spte: i64) -> bool:
    """Removed by shadow-no-flush-on-clear-dirty."""
    dirty_mask = spte_shadow_dirty_mask(masks, spte)
    return (spte & dirty_mask) != 0 if dirty_mask else is_writable_pte(spte)


def spte_has_volatile_bits(masks: SpteMasks, spte: i64) -> bool:
    """May the SPTE change outside mmu_lock, so that it has to be updated atomically?"""
    if not is_writable_pte(spte) and is_mmu_writable_spte(masks, spte):
        return True  # fast_page_fault() may make it writable
    if is_access_track_spte(masks, spte):
        return True
    if spte_ad_enabled(spte):
        accessed = (spte & masks.shadow_accessed_mask) != 0
        dirty = (spte & masks.shadow_dirty_mask) != 0
        return not accessed or (is_writable_pte(spte) and not dirty)
    return False


def mark_spte_for_access_track(masks: SpteMasks, spte: i64) -> i64:
    """The value that makes the next access visible: A cleared, or without A/D bits R, W and X taken away."""
    if spte_ad_enabled(spte):
        return spte & ~masks.shadow_accessed_mask
    if is_access_track_spte(masks, spte):
        return spte
    spte |= (spte & SHADOW_ACC_TRACK_SAVED_BITS_MASK) << SHADOW_ACC_TRACK_SAVED_BITS_SHIFT
    if masks.sem.sw_accessed_when_ad_off:
        return spte & ~(masks.shadow_acc_track_mask | masks.shadow_accessed_mask)
    return spte & ~masks.shadow_acc_track_mask


def restore_acc_track_spte(masks: SpteMasks, spte: i64) -> i64:
    """Put saved R and X back. W is not saved: whoever needs it must prove that the SPTE may be writable."""
    saved_bits = (spte >> SHADOW_ACC_TRACK_SAVED_BITS_SHIFT) & SHADOW_ACC_TRACK_SAVED_BITS_MASK
    spte &= ~masks.shadow_acc_track_mask
    spte &= ~SHADOW_ACC_TRACK_SAVED_MASK
    return spte | saved_bits


def check_spte_writable_invariants(masks: SpteMasks, spte: i64) -> bool:
    """Legal (HOST_WRITABLE, MMU_WRITABLE, W): 111, 110, 100, 000. The kernel WARNs on the others."""
    if (spte & masks.shadow_mmu_writable_mask) != 0:
        return (spte & masks.shadow_host_writable_mask) != 0
    return not is_writable_pte(spte)


def leaf_spte_change_needs_tlb_flush(masks: SpteMasks, old_spte: i64, new_spte: i64) -> bool:
    """Other CPUs may hold writable TLB entries for any MMU_WRITABLE SPTE, writable or not. Write tracking takes a
    !MMU_WRITABLE SPTE as proof that none is left, so clearing that bit is the one leaf change that needs a flush.
    A stale A only makes a page look old, a stale D is the business of whoever reads the dirty log.

    The caller ensures that old_spte is a shadow-present leaf of the same pfn.
    """
    return is_mmu_writable_spte(masks, old_spte) and not is_mmu_writable_spte(masks, new_spte)


def hw_present(masks: SpteMasks, spte: i64) -> bool:
    """Would the page walker use this entry? EPT: any of R, W, X; else P; KVM's own bit is nothing to it. Frozen, MMIO
    and non-present are not."""
    return (spte & (VMX_EPT_RWX_MASK if masks.ept else PT_PRESENT_MASK)) != 0


def make_nonleaf_spte(masks: SpteMasks, child: KvmMmuPage, ad_disabled: bool) -> i64:
    """An entry that points to a page table: writable and accessible, A set so that walkers need not."""
    spte = SPTE_MMU_PRESENT_MASK | (child.pt << PAGE_SHIFT) | masks.shadow_present_mask | PT_WRITABLE_MASK
    spte |= masks.shadow_user_mask | masks.shadow_x_mask
    if ad_disabled:
        return spte | SPTE_TDP_AD_DISABLED
    return spte | masks.shadow_accessed_mask
