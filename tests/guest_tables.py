# SPDX-License-Identifier: GPL-2.0-only
"""A small guest with page tables of its own, driven by hand.

Two levels of four entries: the root at gfn 0, its tables at gfn 1 (pages 0..3) and gfn 2 (pages 4..7). Pages 0, 1 and 2
are gfns 4, 5 and 6; pages 4, 5 and 6 are the tables themselves, gfns 0, 1 and 2.
"""

from typing import Any

from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import GuestPaging, GuestPte
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.shadow_mmu.gpte import make_gpte
from reference_mmu.x86.shadow_mmu.unsync import valid_sps_with_gptes
from reference_mmu.x86.spte import is_mmu_writable_spte, is_writable_pte
from reference_mmu.x86.vcpu import invlpg, load_cr3, vcpu_write_gpte
from tests.by_hand import Stage, Thread

ROOT, LEAF, TABLES = 0, 1, 2  # gfns
DATA, OTHER, THIRD = 0, 1, 2  # virtual pages
ROOT_PAGE, LEAF_PAGE, TABLES_PAGE = 4, 5, 6  # virtual pages of the tables
FREE_GFN = 7

_POINTS = (
    (ROOT, 0, LEAF),
    (ROOT, 1, TABLES),
    *((LEAF, n, 4 + n) for n in range(3)),
    *((TABLES, n, n) for n in range(3)),
)
PTES = tuple(GuestPte(table, index, gfn, accessed=True, dirty=True) for table, index, gfn in _POINTS)


def gpte(gfn: int, *, writable: bool = True, executable: bool = True, accessed: bool = True, dirty: bool = True) -> int:
    return int(make_gpte(gfn, writable, executable, accessed, dirty))


class GuestStage(Stage):
    """A Stage with that guest; all its entries have A and D."""

    def __init__(self, semantics: Semantics = OLD, *, ptes: tuple[GuestPte, ...] = PTES, **config: Any) -> None:
        settings = {"paging": "npt", "levels": 2, **config}
        super().__init__(semantics, mmu="shadow", guest_paging=GuestPaging(ROOT, ptes), **settings)

    def storing(self, vcpu: int, page: int, index: int, value: int) -> Thread:
        """A guest store to a page table, not yet begun."""
        return self.thread(vcpu, vcpu_write_gpte(self.m, self.m.x86_vcpus[vcpu], page, index, value))

    def store_gpte(self, vcpu: int, page: int, index: int, value: int) -> Thread:
        return self.storing(vcpu, page, index, value).finish()

    def invlpg(self, vcpu: int, page: int) -> Thread:
        return self.run(vcpu, invlpg(self.m, self.m.x86_vcpus[vcpu], page))

    def load_cr3(self, vcpu: int, gfn: int = ROOT) -> Thread:
        return self.run(vcpu, load_cr3(self.m, self.m.x86_vcpus[vcpu], gfn))

    def word(self, gfn: int, index: int) -> int:
        """The guest's entry as it is in memory."""
        return int(self.m.host.words[gfn * int(self.m.entries) + index])

    def set_word(self, gfn: int, index: int, value: int) -> None:
        """Change it behind everybody's back."""
        self.m.host.words[gfn * int(self.m.entries) + index] = value

    def shadow_page(self, gfn: int) -> KvmMmuPage:
        """The only shadow page of the table at gfn."""
        (sp,) = valid_sps_with_gptes(self.m, gfn)
        return sp

    def rights(self, page: int, vcpu: int = 0) -> str:
        """The SPTE of a page: "" for none, else R, W for writable, M for MMU-writable."""
        spte, level = self.m.leaf_of(self.root(vcpu), page)
        if level == 0:
            return ""
        return "R" + "W" * is_writable_pte(spte) + "M" * is_mmu_writable_spte(self.m.masks, spte)
