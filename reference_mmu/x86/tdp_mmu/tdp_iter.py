# SPDX-License-Identifier: GPL-2.0-only
"""Pre-order walk over the SPTEs of a TDP MMU root (arch/x86/kvm/mmu/tdp_iter.c)."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from ..machine import Machine
from ..page_table import KvmMmuPage
from ..spte import is_last_spte, is_shadow_present_pte, spte_to_pfn


@mypyc_attr(acyclic=True, free_list_len=1)
class TdpIter:
    """struct tdp_iter. `sp.spt[index]` is *sptep.

    Invariants: progress (`next_last_level_gfn`) changes only on a sideways step; `yielded` is set by the one function
    that drops mmu_lock and is consumed by tdp_iter_next(), which then restarts at the root: every table seen before
    may be gone.
    """

    def __init__(self, m: Machine, root: KvmMmuPage, min_level: i64, start: i64, end: i64) -> None:
        self.m = m
        self.root = root
        self.root_level = root.level
        self.min_level = min_level
        self.end = end
        self.started = False
        self.next_last_level_gfn = start
        self.yielded_gfn: i64 = start
        self.pt_path: list[KvmMmuPage] = [root] * (int(root.level) + 1)
        self.level: i64 = root.level
        self.gfn: i64 = start
        self.sp = root
        self.index: i64 = 0
        self.old_spte: i64 = 0
        self.valid = True
        self.yielded = False
        self.restart()

    def restart(self) -> None:
        """tdp_iter_restart()"""
        self.yielded = False
        self.yielded_gfn = self.next_last_level_gfn
        self.level = self.root_level
        self.gfn = self.m.gfn_round_for_level(self.next_last_level_gfn, self.level)
        self.refresh_sptep()
        self.valid = True

    def refresh_sptep(self) -> None:
        """tdp_iter_refresh_sptep()"""
        self.sp = self.pt_path[self.level]
        self.index = self.m.spte_index(self.gfn, self.level)
        self.old_spte = self.sp.spt[self.index]

    def more(self) -> bool:
        """for_each_tdp_pte_min_level(): `while it.more():` visits the entries of [start, end); `continue` advances."""
        if self.started:
            self.next()
        self.started = True
        return self.valid and self.gfn < self.end

    def retry(self) -> None:
        """goto retry: the next more() stays at this entry, whose old_spte a lost cmpxchg has refreshed."""
        self.started = False

    def next(self) -> None:
        """tdp_iter_next()"""
        if self.yielded:
            self.restart()
            return
        if self.sp.freed:
            self.m.oracle.iterated_freed_table(self.m, self.sp)
        if self.try_step_down():
            return
        while True:
            if self.try_step_side():
                return
            if not self.try_step_up():
                break
        self.valid = False

    def try_step_down(self) -> bool:
        if self.level == self.min_level:
            return False
        # Reread: the entry may have been unlinked, and its table be on its way to be freed.
        self.old_spte = self.sp.spt[self.index]
        if not is_shadow_present_pte(self.old_spte) or is_last_spte(self.old_spte, self.level):
            return False
        child = self.m.page_tables[spte_to_pfn(self.old_spte)]
        self.level -= 1
        self.pt_path[self.level] = child
        self.gfn = self.m.gfn_round_for_level(self.next_last_level_gfn, self.level)
        self.refresh_sptep()
        return True

    def try_step_side(self) -> bool:
        if self.index == self.m.entries - 1:
            return False
        self.gfn += self.m.pages_per_hpage(self.level)
        self.next_last_level_gfn = self.gfn
        self.index += 1
        self.old_spte = self.sp.spt[self.index]
        return True

    def try_step_up(self) -> bool:
        if self.level == self.root_level:
            return False
        self.level += 1
        self.gfn = self.m.gfn_round_for_level(self.gfn, self.level)
        self.refresh_sptep()
        return True
