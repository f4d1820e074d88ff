# SPDX-License-Identifier: GPL-2.0-only
"""Finding or making the shadow page of a guest page table (kvm_mmu_get_shadow_page() with role.direct=0, mmu.c).

One guest table may have several shadow pages: one for each level it is used at and each access the way to it allows.
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64

from ...kvm.flush import kvm_flush_remote_tlbs
from ..machine import Machine
from ..page_table import KvmMmuPage
from ..points import SHADOW_ZAP_FLUSH, SYNC_FLUSH
from ..spte import ACC_ALL, PG_LEVEL_4K, is_last_spte, is_shadow_present_pte
from .account_shadowed import account_shadowed
from .shadow_page import kvm_mmu_commit_zap_page, kvm_mmu_prepare_zap_page
from .sync import kvm_sync_page
from .unsync import valid_sps_with_gptes


def kvm_mmu_get_child_sp(
    m: Machine, sp: KvmMmuPage, index: i64, gfn: i64, access: i64
) -> Generator[int, None, KvmMmuPage | None]:
    """The shadow page to be linked at an entry, None (-EEXIST) if there is one already."""
    spte = sp.spt[index]
    if is_shadow_present_pte(spte) and not is_last_spte(spte, sp.level):
        return None
    return (yield from kvm_mmu_get_shadow_page(m, gfn, sp.level - 1, access))


def kvm_mmu_get_shadow_page(m: Machine, gfn: i64, level: i64, access: i64) -> Generator[int, None, KvmMmuPage]:
    sp = yield from kvm_mmu_find_shadow_page(m, gfn, level, access)
    if sp is None:
        sp = yield from kvm_mmu_alloc_shadow_page(m, gfn, level, access)
    return sp


def kvm_mmu_find_shadow_page(m: Machine, gfn: i64, level: i64, access: i64) -> Generator[int, None, KvmMmuPage | None]:
    """A shadow page of that role, its SPTEs up to date. It may be unsync nevertheless: write protection is not worth
    its price before the guest flushes."""
    found: KvmMmuPage | None = None
    invalid_list: list[KvmMmuPage] = []
    for sp in valid_sps_with_gptes(m, gfn):
        if sp.level != level or sp.access != access:
            # The guest has most likely given the page another use, and an upper-level page is to be write-protected.
            if level > PG_LEVEL_4K and sp.unsync:
                kvm_mmu_prepare_zap_page(m, sp, invalid_list)
            continue
        if sp.unsync:
            ret = yield from kvm_sync_page(m, sp, invalid_list)
            if ret < 0:
                break
            if ret > 0:
                yield from kvm_flush_remote_tlbs(m, SYNC_FLUSH)
        sp.write_flooding_count = 0
        found = sp
        break
    yield from kvm_mmu_commit_zap_page(m, invalid_list, SHADOW_ZAP_FLUSH)
    return found


def kvm_mmu_alloc_shadow_page(m: Machine, gfn: i64, level: i64, access: i64) -> Generator[int, None, KvmMmuPage]:
    sp = m.alloc_table(level, gfn, None)
    sp.direct = False
    sp.access = access
    sp.shadowed_translation = vec[i64]([0] * m.entries)
    sp.unsync_child_bitmap = vec[i64]([0] * m.entries)
    sp.ad_disabled = not m.masks.kvm_ad_enabled()
    sp.guest_mode = m.masks.ept
    sp.mmu_valid_gen = m.mmu_valid_gen
    m.active_mmu_pages.append(sp)
    yield from account_shadowed(m, sp)
    return sp


def mmu_alloc_shadow_root(m: Machine, root_gfn: i64) -> Generator[int, None, KvmMmuPage]:
    """The root for CR3, with a reference for the vCPU. mmu_lock held for write."""
    root = yield from kvm_mmu_get_shadow_page(m, root_gfn, m.levels, ACC_ALL)
    root.root_count += 1
    return root
