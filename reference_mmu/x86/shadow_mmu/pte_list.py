# SPDX-License-Identifier: GPL-2.0-only
"""Chains of SPTEs: how one is added, removed, and walked (pte_list_*() and rmap_get_*() in mmu.c).

Removing an SPTE puts the last one of the first descriptor in its place, and frees that descriptor when it is empty. So
whoever removes where a walk stands has to begin the walk again. mmu_lock is held for write from its start to its end.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

from ..machine import Machine
from ..page_table import KvmMmuPage, KvmRmapHead, PteListDesc
from ..spte import is_shadow_present_pte

PTE_LIST_EXT: Final[i64] = 2
"""SPTEs in a descriptor: 14 in the kernel, whose guests map a page more often."""


def pte_list_add(rmap_head: KvmRmapHead, sp: KvmMmuPage, index: i64) -> None:
    sptep = (sp, int(index))
    desc = rmap_head.desc
    if desc is None:
        if rmap_head.sptep is None:
            rmap_head.sptep = sptep
            return
        desc = PteListDesc(None)
        desc.sptes.append(rmap_head.sptep)
        rmap_head.sptep = None
        rmap_head.desc = desc
    elif len(desc.sptes) == PTE_LIST_EXT:
        desc = PteListDesc(desc)
        rmap_head.desc = desc
    desc.sptes.append(sptep)


def pte_list_remove(m: Machine, rmap_head: KvmRmapHead, sp: KvmMmuPage, index: i64) -> None:
    sptep = rmap_head.sptep
    if sptep is not None and sptep[0] is sp and sptep[1] == index:
        rmap_head.sptep = None
        return
    desc = rmap_head.desc
    while desc is not None:
        for at in range(len(desc.sptes)):
            sptep = desc.sptes[at]
            if sptep[0] is sp and sptep[1] == index:
                pte_list_desc_remove_entry(rmap_head, desc, at)
                return
        desc = desc.more
    # KVM_BUG_ON_DATA_CORRUPTION()
    m.bug_on(True, "pte_list_remove: the SPTE is not in the chain")


def pte_list_desc_remove_entry(rmap_head: KvmRmapHead, desc: PteListDesc, at: i64) -> None:
    """The hole is filled from the first descriptor, so that all others stay full."""
    head_desc = rmap_head.desc
    assert head_desc is not None
    desc.sptes[at] = head_desc.sptes[-1]
    head_desc.sptes.pop()
    if not head_desc.sptes:
        rmap_head.desc = head_desc.more
        mmu_free_pte_list_desc(head_desc)


def mmu_free_pte_list_desc(desc: PteListDesc) -> None:
    desc.freed = True


def use_pte_list_desc(m: Machine, desc: PteListDesc) -> None:
    """A descriptor is read, as KASAN would see it."""
    m.bug_on(desc.freed, "KASAN: use-after-free of a pte_list_desc")


def next_pte_list_desc(m: Machine, desc: PteListDesc) -> PteListDesc | None:
    use_pte_list_desc(m, desc)
    return desc.more


@mypyc_attr(acyclic=True, free_list_len=1)
class RmapIterator:
    """struct rmap_iterator, with the SPTE where it is: entry `index` of `sp`. Of no chain there is nothing to visit."""

    sp: KvmMmuPage
    index: i64

    def __init__(self, m: Machine, rmap_head: KvmRmapHead | None) -> None:
        self.m = m
        self.rmap_head = rmap_head
        self.desc: PteListDesc | None = None
        self.pos: i64 = 0
        self.in_first = True
        self.started = False

    def more(self) -> bool:
        """for_each_rmap_spte(): `while it.more():` visits each SPTE."""
        if self.started:
            return self.rmap_get_next()
        self.started = True
        return self.rmap_get_first()

    def restart(self) -> None:
        """goto restart: an SPTE was removed, so the next more() begins anew."""
        self.started = False

    def rmap_get_first(self) -> bool:
        if self.rmap_head is None:
            return False
        self.desc = self.rmap_head.desc
        self.pos = 0
        self.in_first = True
        if self.desc is not None:
            return self.stand_at(self.desc.sptes[0])
        sptep = self.rmap_head.sptep
        return sptep is not None and self.stand_at(sptep)

    def rmap_get_next(self) -> bool:
        desc = self.desc
        if desc is None:
            return False
        use_pte_list_desc(self.m, desc)
        # What fills a hole of a later one comes from the first one, which the walk has behind it.
        if self.in_first and self.pos < len(desc.sptes):
            sp, index = desc.sptes[self.pos]
            if sp is not self.sp or index != self.index:
                self.m.oracle.rmap_passed_over(self.m)
        self.pos += 1
        if self.pos >= len(desc.sptes):
            desc = next_pte_list_desc(self.m, desc)
            self.desc = desc
            self.pos = 0
            self.in_first = False
            if desc is None:
                return False
        return self.stand_at(desc.sptes[self.pos])

    def stand_at(self, sptep: tuple[KvmMmuPage, int]) -> bool:
        self.sp, self.index = sptep
        self.m.bug_on(not is_shadow_present_pte(self.sp.spt[self.index]), "rmap_get_next: the SPTE is not present")
        return True
