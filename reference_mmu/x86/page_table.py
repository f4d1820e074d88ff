# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_mmu_page: one page table with its role, and chains of entries of page tables
(arch/x86/include/asm/kvm_host.h, mmu_internal.h, mmu.c)."""

from __future__ import annotations

from librt.vecs import vec
from mypy_extensions import i64, mypyc_attr

from ..kvm.page_table import PageTable


@mypyc_attr(acyclic=True)
class PteListDesc:
    """struct pte_list_desc: a part of a chain. All but the first one of a chain are full."""

    def __init__(self, more: PteListDesc | None) -> None:
        self.sptes: list[tuple[KvmMmuPage, int]] = []
        self.more = more
        self.freed = False


@mypyc_attr(acyclic=True)
class KvmRmapHead:
    """struct kvm_rmap_head: a chain of SPTEs. In the kernel one word says whether it is a single one or descriptors."""

    def __init__(self) -> None:
        self.sptep: tuple[KvmMmuPage, int] | None = None  # the only SPTE there is
        self.desc: PteListDesc | None = None

    def is_empty(self) -> bool:
        return self.sptep is None and self.desc is None

    def sptes(self) -> list[tuple[KvmMmuPage, int]]:
        """All of the chain, in the order of a walk."""
        if self.sptep is not None:
            return [self.sptep]
        sptes: list[tuple[KvmMmuPage, int]] = []
        desc = self.desc
        while desc is not None:
            sptes.extend(desc.sptes)
            desc = desc.more
        return sptes


@mypyc_attr(acyclic=True)
class KvmMmuPage(PageTable):
    """A page table in a role. The fields are the kernel's. Of an indirect one `gfn` is where the guest keeps the table
    that it shadows."""

    def __init__(self, pt: i64, level: i64, gfn: i64, entries: i64, nonpresent: i64) -> None:
        super().__init__(pt, level, gfn, entries, nonpresent)
        self.ad_disabled = False  # role.ad_disabled
        self.guest_mode = False  # role.guest_mode: maps L2, PML must not be used
        self.invalid = False  # role.invalid: a root nobody may load any more
        self.tdp_mmu_page = False
        self.tdp_mmu_scheduled_root_to_zap = False
        self.root_count: i64 = 0  # tdp_mmu_root_count; shadow MMU: vCPUs that use it as root
        self.root: KvmMmuPage | None = None  # TDP: the root it hangs under, None for a root
        self.mmu_valid_gen: i64 = 0
        self.parent_ptes = KvmRmapHead()  # shadow MMU: the entries that point to it
        # An indirect page shadows the guest's page table at `gfn`, for walks that allow `access` that far.
        self.direct = True  # role.direct
        self.access: i64 = 0  # role.access
        self.shadowed_translation: vec[i64] = vec[i64]([])  # indirect: gfn << 12 | ACC_* of each leaf
        self.unsync = False  # the guest may write its table: the SPTEs are what it was at the last flush
        self.unsync_children: i64 = 0  # bits set in the bitmap
        self.unsync_child_bitmap: vec[i64] = vec[i64]([])  # 1 for entries below which there may be an unsync page
        self.write_flooding_count: i64 = 0

    def top(self) -> KvmMmuPage:
        """The root this table belongs, or belonged, to."""
        return self if self.root is None else self.root
