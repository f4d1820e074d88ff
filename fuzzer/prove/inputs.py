# SPDX-License-Identifier: GPL-2.0-only
"""Every input that a function of the model can get in the small geometry: SPTEs, kinds of page table, and a machine
in which the function can be called on them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import product
from typing import Any, Final, Literal, NamedTuple

from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config, SlotConfig
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.observed import COUNT_CHANGES, Observed
from reference_mmu.oracle import Oracle
from reference_mmu.x86 import spte as sptes
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.roots import kvm_mmu_load, kvm_tdp_mmu_alloc_root
from reference_mmu.x86.shadow_mmu.rmap import rmap_add
from reference_mmu.x86.shadow_mmu.shadow_page import kvm_mmu_get_shadow_page, mmu_page_add_parent_pte
from reference_mmu.x86.tdp_mmu.tdp_iter import TdpIter
from reference_mmu.x86.x86 import X86

PFN: Final = 4  # of every SPTE made here: a page of a 2M block of the small geometry, and the first one of it


class TableKind(NamedTuple):
    """Page tables whose SPTEs have one layout and one A/D type; both are the same throughout a root."""

    paging: Literal["ept-ad", "ept-ad-nopml", "ept-noad", "npt"]
    ad_disabled: bool = False  # role.ad_disabled
    guest_mode: bool = False  # role.guest_mode; with PML its SPTEs are of type WRPROT_ONLY

    def __str__(self) -> str:
        role = " ad_disabled" if self.ad_disabled else " guest_mode" if self.guest_mode else ""
        return f"{self.paging}{role}"


# With A/D bits, ad_disabled is what L1 makes of an L2 table when it does not use them.
TABLE_KINDS: Final = (
    TableKind("ept-ad"),
    TableKind("ept-ad", guest_mode=True),
    TableKind("ept-ad", ad_disabled=True),
    TableKind("ept-ad-nopml"),
    TableKind("ept-ad-nopml", ad_disabled=True),
    TableKind("ept-noad", ad_disabled=True),
    TableKind("npt"),
)


class Bit(NamedTuple):
    """A bit of a leaf SPTE that KVM or hardware may set."""

    name: str
    mask: int


def leaf_bits(masks: sptes.SpteMasks) -> tuple[Bit, ...]:
    """The bits in which two leaf SPTEs of one table and one pfn can differ, those of access tracking last."""
    host_writable = Bit("HOST_W", int(masks.shadow_host_writable_mask))
    mmu_writable = Bit("MMU_W", int(masks.shadow_mmu_writable_mask))
    if not masks.ept:
        accessed, dirty = Bit("A", int(masks.shadow_accessed_mask)), Bit("D", int(masks.shadow_dirty_mask))
        present, user = Bit("P", int(masks.shadow_present_mask)), Bit("U", int(masks.shadow_user_mask))
        return present, Bit("W", sptes.PT_WRITABLE_MASK), user, accessed, dirty, host_writable, mmu_writable
    return (
        Bit("R", sptes.VMX_EPT_READABLE_MASK),
        Bit("W", sptes.PT_WRITABLE_MASK),
        Bit("X", sptes.VMX_EPT_EXECUTABLE_MASK),
        Bit("A", sptes.VMX_EPT_ACCESS_BIT),
        Bit("D", sptes.VMX_EPT_DIRTY_BIT),
        host_writable,
        mmu_writable,
        Bit("saved R", sptes.VMX_EPT_READABLE_MASK << sptes.SHADOW_ACC_TRACK_SAVED_BITS_SHIFT),
        Bit("saved X", sptes.VMX_EPT_EXECUTABLE_MASK << sptes.SHADOW_ACC_TRACK_SAVED_BITS_SHIFT),
    )


def leaf_base(kind: TableKind, level: int) -> int:
    """What all leaves of a table have in common: the pfn, MMU-present, page size, A/D type."""
    base = PFN << sptes.PAGE_SHIFT | sptes.SPTE_MMU_PRESENT_MASK
    if level > 1:
        base |= sptes.PT_PAGE_SIZE_MASK
    if kind.ad_disabled:
        return base | sptes.SPTE_TDP_AD_DISABLED
    return base | sptes.SPTE_TDP_AD_WRPROT_ONLY if kind.guest_mode else base


def leaf_sptes(kind: TableKind, level: int, bits: tuple[Bit, ...]) -> list[int]:
    """Every combination of `bits`, legal or not."""
    base = leaf_base(kind, level)
    return [base | sum(chosen) for chosen in product(*((0, bit.mask) for bit in bits))]


def raw_sptes(kind: TableKind, masks: sptes.SpteMasks) -> list[int]:
    """Whatever may stand in an entry: nothing, a frozen value, or MMU-present, page size, W, A, D, HOST_WRITABLE and
    MMU_WRITABLE in every combination."""
    named = [bit.mask for bit in leaf_bits(masks) if bit.name in ("W", "A", "D", "HOST_W", "MMU_W")]
    present = leaf_base(kind, 1) & ~sptes.SPTE_MMU_PRESENT_MASK | int(masks.shadow_present_mask)
    chosen = product(*((0, mask) for mask in (sptes.SPTE_MMU_PRESENT_MASK, sptes.PT_PAGE_SIZE_MASK, *named)))
    return [sptes.SHADOW_NONPRESENT_VALUE, sptes.FROZEN_SPTE, *(present | sum(bits) for bits in chosen)]


def legal_leaves(kind: TableKind, level: int, masks: sptes.SpteMasks) -> Iterator[int]:
    """The leaves that KVM makes: readable, or access-tracked with R saved; W only under MMU_WRITABLE, that only under
    HOST_WRITABLE."""
    saved_r = sptes.VMX_EPT_READABLE_MASK << sptes.SHADOW_ACC_TRACK_SAVED_BITS_SHIFT
    for spte in leaf_sptes(kind, level, leaf_bits(masks)):
        if sptes.is_access_track_spte(masks, spte):
            readable = (spte & saved_r) != 0
        else:
            readable = (spte & masks.shadow_present_mask) != 0 and (spte & sptes.SHADOW_ACC_TRACK_SAVED_MASK) == 0
        if readable and sptes.check_spte_writable_invariants(masks, spte):
            yield spte


def spell(spte: int, masks: sptes.SpteMasks) -> str:
    """An SPTE for people: its value and the names of its bits."""
    names = [bit.name for bit in leaf_bits(masks) if spte & bit.mask]
    return f"{spte & (1 << 64) - 1:#x} ({' '.join(names) or 'none'})"


class Rig:
    """A machine with one vCPU and one idle actor, and the tables that translate gfns 0..3, the lower ones empty.

    `m.memslots[0]` is gfns 0..7, backed by huge host pages.
    """

    def __init__(
        self,
        semantics: Semantics,
        kind: TableKind,
        mmu: Literal["tdp", "shadow"] = "tdp",
        logging: bool = False,
        levels: int = 3,
    ) -> None:
        slot = SlotConfig(base=0, npages=8, hva=0, logging=logging)
        config = Config(mmu=mmu, paging=kind.paging, vcpus=1, levels=levels, slots=(slot,), backing=("thp", "thp"))
        self.m = X86(config, semantics, 1, 1, Oracle())
        self.kind = kind
        self.m.x86_vcpus[0].guest_mode = kind.guest_mode
        kvm_mmu_load(self.m, self.m.x86_vcpus[0])
        root = self.m.x86_vcpus[0].root
        assert root is not None
        self.tables = self.make_tables(root)

    def another_root(self, guest_mode: bool) -> dict[int, KvmMmuPage]:
        """The last root of the TDP MMU, and the tables below it."""
        return self.make_tables(kvm_tdp_mmu_alloc_root(self.m, guest_mode))

    def make_tables(self, root: KvmMmuPage) -> dict[int, KvmMmuPage]:
        """The root and one table below the other, by level."""
        m = self.m
        root.ad_disabled = self.kind.ad_disabled
        tables = {int(root.level): root}
        sp = root
        while sp.level > 1:
            child = self.make_child(sp)
            sp.spt[0] = sptes.make_nonleaf_spte(m.masks, child, child.ad_disabled)
            sp = child
            tables[int(sp.level)] = sp
        return tables

    def make_child(self, sp: KvmMmuPage) -> KvmMmuPage:
        if self.m.tdp_mmu_enabled:
            child = self.m.alloc_table(sp.level - 1, 0, sp.top())
            child.tdp_mmu_page = True
            return child
        child = kvm_mmu_get_shadow_page(self.m, 0, sp.level - 1)
        child.ad_disabled = sp.ad_disabled
        mmu_page_add_parent_pte(child, sp, 0)
        return child

    @property
    def slot(self) -> KvmMemorySlot:
        return self.m.memslots[0]

    def put(self, level: int, spte: int, index: int = 0) -> None:
        """Let `spte` stand in an entry as if it had been made long ago."""
        sp = self.tables[level]
        if not self.m.tdp_mmu_enabled:
            self.m.rmap.pop(int(self.m.tlb_key(sp.gfn + index * self.m.pages_per_hpage(level), level)), None)
            if sptes.is_shadow_present_pte(spte):
                rmap_add(self.m, sp, index)
        sp.spt[index] = spte

    def iterator(self, level: int) -> TdpIter:
        """A walk for gfn 0 that has come to `level`."""
        it = TdpIter(self.m, self.tables[int(self.m.levels)], level, 0, 1)
        while it.more() and it.level > level:
            pass
        return it

    def taken(self) -> tuple[object, ...]:
        """What happened since the last call: events, dirty bits, SPTE changes, unsync calls."""
        m = self.m
        bitmap = self.slot.dirty_bitmap
        dirty = list(bitmap)
        for word, bits in enumerate(dirty):
            if bits:
                bitmap[word] = 0
        events, changes, calls = tuple(m.observed.events(0)), m.observed.counted(0, COUNT_CHANGES), m.unsync_calls
        m.observed = Observed(1)
        m.unsync_calls = 0
        return events, dirty, changes, calls


def run(flow: Generator[int, None, Any], stopped: Callable[[int], None] | None = None) -> tuple[list[int], Any]:
    """Run a flow alone to its end: the points it stopped at, each of which `stopped` is told, and what it returned."""
    points = []
    while True:
        try:
            points.append(next(flow))
        except StopIteration as stop:
            return points, stop.value
        if stopped is not None:
            stopped(points[-1])
