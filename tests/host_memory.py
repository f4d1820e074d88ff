# SPDX-License-Identifier: GPL-2.0-only
"""A machine over one kind of memory, and what a look-up of its first page comes to."""

from __future__ import annotations

from typing import Any, NamedTuple

from reference_mmu.changelog.semantics import OLD, Semantics
from reference_mmu.kvm import pfn as errors
from reference_mmu.kvm.follow_pfn import KvmFollowPfn, kvm_follow_pfn
from reference_mmu.kvm.memslots import KvmMemorySlot
from reference_mmu.mm.gup import FOLL_WRITE
from reference_mmu.mm.page import Page
from tests.by_hand import Stage, Thread

ERRORS = {
    int(errors.KVM_PFN_ERR_FAULT): "fault",
    int(errors.KVM_PFN_ERR_HWPOISON): "hwpoison",
    int(errors.KVM_PFN_ERR_RO_FAULT): "read-only",
    int(errors.KVM_PFN_ERR_SIGPENDING): "signal",
    int(errors.KVM_PFN_ERR_NEEDS_IO): "needs io",
    int(errors.KVM_PFN_NOSLOT): "no slot",
}


class Found(NamedTuple):
    """`what`: "page", the one that the host PTE of hva 0 maps, or the error. `refs` and `pins` are KVM's on it."""

    what: str
    refs: int = 0
    pins: int = 0
    writable: bool = False


class Memory(Stage):
    """A slot of four pages over a block of `kind`."""

    def __init__(self, kind: str, semantics: Semantics = OLD, **config: Any) -> None:
        super().__init__(semantics, backing=(kind, "anon"), **config)

    @property
    def slot(self) -> KvmMemorySlot:
        return self.m.memslots[0]

    def page(self, hva: int = 0) -> Page:
        """The page at `hva`; of a large folio the first, where its counts stand."""
        return self.m.host.folio(self.m.host.pte[hva])

    def follow(
        self, foll: int = 0, *, pin: bool = False, offers: bool = True, garbage: bool = False, mishaps: int = 0
    ) -> tuple[KvmFollowPfn, Thread]:
        """A look-up of gfn 0, not yet begun. `garbage`: what the caller's variable holds."""
        kfp = KvmFollowPfn(self.slot, 0, foll)
        kfp.pin = pin
        kfp.offers = offers and not pin
        kfp.map_writable = garbage
        self.m.mishaps = mishaps
        return kfp, self.thread(0, kvm_follow_pfn(self.m, kfp))

    def found(self, kfp: KvmFollowPfn, thread: Thread) -> Found:
        """What came of it."""
        pfn = thread.finish().result
        if pfn < 0:
            return Found(ERRORS[pfn])
        assert pfn == self.m.host.pte[0]
        page = self.page()
        assert (kfp.refcounted_page == pfn) == (page.kvm_refs + page.kvm_pins > 0 or page.zero)
        return Found("page", int(page.kvm_refs), int(page.kvm_pins), kfp.map_writable)


def look_up(kind: str, semantics: Semantics, *, write: bool = False, pin: bool = False, **config: Any) -> Found:
    """Look gfn 0 up as a fault of the guest does, or, to pin it, as kvm_vcpu_map()."""
    memory = Memory(kind, semantics, **config)
    return memory.found(*memory.follow(int(FOLL_WRITE) if write else 0, pin=pin))
