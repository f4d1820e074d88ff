# SPDX-License-Identifier: GPL-2.0-only
"""make_spte() on everything it may be asked: every argument, over every state of the guest's page that is to be
mapped."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Final, NamedTuple

from librt.vecs import vec
from mypy_extensions import i64

from fuzzer.prove.inputs import PFN, Rig, TableKind, raw_sptes
from fuzzer.prove.sweep import BOTH, InputCase, SemanticsPair, Sweep
from reference_mmu.x86.make_spte import make_spte
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.shadow_mmu.pte_list import pte_list_add
from reference_mmu.x86.spte import PG_LEVEL_1G, PG_LEVEL_2M, PG_LEVEL_4K

LEVELS: Final = (int(PG_LEVEL_4K), int(PG_LEVEL_2M), int(PG_LEVEL_1G))


class GuestPage(NamedTuple):
    """The page that is to be mapped. `unsync`: of each shadow page of a guest page table that is kept there."""

    gfn: int
    what: str
    unsync: tuple[bool, ...] = ()
    tracked: bool = False
    obsolete: bool = False

    def __str__(self) -> str:
        return f"gfn {self.gfn}, {self.what}"


GUEST_PAGES: Final = (
    GuestPage(0, "no page table"),
    GuestPage(5, "no page table"),
    GuestPage(5, "a table of an upper level", (False,), tracked=True),
    GuestPage(5, "a table that is in sync", (False,)),
    GuestPage(5, "an unsync table", (True,)),
    GuestPage(5, "a table with two shadow pages, one unsync", (True, False)),
    GuestPage(5, "a table whose shadow page is obsolete", (False,), obsolete=True),
)


class GuestTableRig(Rig):
    """A machine whose guest keeps page tables, of guests of its own if the MMU is the TDP MMU's."""

    def __init__(self, rig: Rig) -> None:
        self.m, self.kind, self.tables = rig.m, rig.kind, rig.tables
        self.parent = self.m.alloc_table(2, 0, None)
        self.parent.unsync_child_bitmap = vec[i64]([0] * int(self.m.entries))
        self.shadows: list[KvmMmuPage] = []

    def keep(self, page: GuestPage) -> None:
        """Let the guest keep what `page` says, and nothing else."""
        m = self.m
        m.tracked_gfns = {page.gfn: 1} if page.tracked else {}
        self.shadows = [m.alloc_table(2 if page.tracked else 1, page.gfn, None) for _ in page.unsync]
        for index, (sp, unsync) in enumerate(zip(self.shadows, page.unsync, strict=True)):
            sp.direct = False
            sp.invalid = page.obsolete
            sp.unsync = unsync
            pte_list_add(sp.parent_ptes, self.parent, index)
        m.active_mmu_pages = list(self.shadows)
        m.indirect_shadow_pages = len(self.shadows)

    def unsynced(self, page: GuestPage) -> tuple[object, ...]:
        """Which shadow pages have become unsync, and how that is marked above; then that is taken back."""
        marks = list(self.parent.unsync_child_bitmap)
        found = [sp.unsync for sp in self.shadows], int(self.parent.unsync_children), marks
        for sp, unsync in zip(self.shadows, page.unsync, strict=True):
            sp.unsync = unsync
        if self.parent.unsync_children:
            self.parent.unsync_children = 0
            for index in range(len(marks)):
                self.parent.unsync_child_bitmap[index] = 0
        return found


def make_spte_cases(kinds: tuple[TableKind, ...], sides: SemanticsPair) -> Iterator[InputCase]:
    for kind, logging in product(kinds, BOTH):
        before, after = [GuestTableRig(Rig(sem, kind, logging=logging, levels=4)) for sem in sides]
        old_sptes = raw_sptes(kind, after.m.masks)
        for level, page in product(LEVELS, GUEST_PAGES):
            before.keep(page)
            after.keep(page)
            for args in product(range(8), old_sptes, BOTH, BOTH, BOTH):
                was, now = made_spte(before, level, page, *args), made_spte(after, level, page, *args)
                yield InputCase((kind, logging, level, page, *args), was, now)


def made_spte(
    rig: GuestTableRig,
    level: int,
    page: GuestPage,
    access: int,
    old_spte: int,
    prefetch: bool,
    synchronizing: bool,
    host_writable: bool,
) -> tuple[object, ...]:
    result = make_spte(
        rig.m, rig.tables[level], rig.slot, access, page.gfn, PFN, old_spte, prefetch, synchronizing, host_writable
    )
    return result, rig.unsynced(page) if page.unsync else None, rig.taken()


def make_spte_sweep(kinds: tuple[TableKind, ...], which: str) -> Sweep:
    return Sweep(
        f"make_spte(): SPTE, wrprot, WARNs, dirty bitmap, calls of mmu_try_to_unsync_pages() and what becomes unsync,"
        f" for {which}, 4K, 2M and 1G, slot logging or not, gfn 0 and another one, its shadow pages (none, tracked, in"
        " sync, unsync, both, obsolete), access, old SPTE, prefetch, synchronizing, host_writable",
        (
            "A/D type",
            "slot logs",
            "level",
            "guest's page",
            "access",
            "old SPTE",
            "prefetch",
            "synchronizing",
            "host_writable",
        ),
        partial(make_spte_cases, kinds),
    )
