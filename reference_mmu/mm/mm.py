# SPDX-License-Identifier: GPL-2.0-only
"""struct mm_struct as the code of mm/ sees it: the memory of the process, who runs, and the registered notifiers.

The lowest of the layers that make a machine: a process of the host (this file), the virtual machine without its
architecture (kvm/kvm.py), the architecture (x86/machine.py).  Each is a class on top of the one below.  What a layer
needs of those above it is a method that it declares and they override, under the kernel's name.
"""

from __future__ import annotations

from collections.abc import Generator

from librt.vecs import vec
from mypy_extensions import i64

from ..config import Config
from ..rwlock import RwLock
from .host import Host
from .vma import GUEST_MEMFD


def gmem_pages(config: Config) -> int:
    """Config.gmem_pages, in compiled code: every machine asks this."""
    size = 0
    for slot in config.slots:
        if isinstance(slot.gmem, int):
            size = max(size, slot.gmem + slot.npages)
    return size


class Mm:
    """`actor` and `uid` say who runs now and which operation it is in, `mishaps` what goes wrong around it (MISHAP_*);
    the executor sets them."""

    def __init__(self, config: Config, actors: i64) -> None:
        self.config = config
        self.actor: i64 = 0
        self.uid: i64 = 0
        self.mishaps: i64 = 0
        self.gmem_pages = gmem_pages(config)
        blocks = -(-self.gmem_pages >> config.bits)
        backing = config.backing + (GUEST_MEMFD,) * blocks if blocks else config.backing
        self.host = Host(backing, config.bits, config.gigantic is True)
        self.mmap_lock = RwLock(actors, "mmap_lock")
        self.hva_waiters: vec[i64] = vec[i64]([0] * actors)

    def put_page(self, pfn: i64) -> None:
        """put_page(): drop a reference to a host page."""
        self.host.put(pfn)
        if self.host.pages[pfn].freed:
            self.folio_freed(pfn)

    def unpin_page(self, pfn: i64) -> None:
        """unpin_user_page(): drop a pin of a host page."""
        self.host.unpin(pfn)
        if self.host.pages[pfn].freed:
            self.folio_freed(pfn)

    def folio_freed(self, pfn: i64) -> None:
        """Tell whoever listens of every page of a folio that is free now."""
        head = self.host.pages[pfn].head
        if not self.host.pages[head].large:
            self.page_freed(pfn)
            return
        for at in range(head, head + self.host.block):
            if self.host.pages[at].head == head:
                self.page_freed(at)

    def forget(self, hva: i64) -> None:
        """The contents at `hva` are gone, and that is known: whoever reads next finds zeroes."""
        self.host.swap[hva] = 0
        self.host.reference[hva] = 0
        self.host.clear_words(hva)
        self.discarded(hva)

    def mmap_assert_locked(self) -> None:
        """mmap_assert_locked(): VMAs must not go meanwhile."""
        self.lockdep_assert(self.mmap_lock.held[self.actor] != 0)

    def failing(self, mishap: i64) -> bool:
        """Does that go wrong, MISHAP_*, around the running operation?"""
        return (self.mishaps & mishap) != 0

    # --- what those above are told, or asked for --------------------------------------------------------------

    def lockdep_assert(self, held: bool) -> None:
        """lockdep_assert_held() and the like: a debug kernel complains if what must be held is not."""

    def might_sleep(self) -> None:
        """might_sleep(): a debug kernel looks whether this is allowed here."""

    def count_gup(self) -> None:
        """GUP was called."""

    def slow_gup(self) -> None:
        """GUP was called in the way that may sleep."""

    def page_cleaned(self, pfn: i64) -> None:
        """PG_dirty was taken from a page that is written out."""

    def page_taken(self, pfn: i64, pin: bool) -> None:
        """GUP has taken a reference, or a pin, for KVM."""

    def page_freed(self, pfn: i64) -> None:
        """The last reference to a host page is gone."""

    def discarded(self, hva: i64) -> None:
        """The process threw the contents of `hva` away."""

    def mmu_notifier_invalidate_range_start(self, start: i64, end: i64) -> Generator[int, None, None]:
        """When it has ended nobody uses a translation of [start, end), which changes now."""
        raise NotImplementedError

    def mmu_notifier_invalidate_range_end(self, start: i64, end: i64) -> Generator[int, None, None]:
        """[start, end) has changed."""
        raise NotImplementedError

    def mmu_notifier_clear_flush_young(self, start: i64, end: i64) -> Generator[int, None, bool]:
        """Was any page of [start, end) accessed since this was asked last?"""
        raise NotImplementedError
