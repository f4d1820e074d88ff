# SPDX-License-Identifier: GPL-2.0-only
"""A guest_memfd: memory that only the guest can reach, since no process may map it (struct kvm_gmem and its inode in
virt/kvm/guest_memfd.c). What happens to it is in guest_memfd.py."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from .memslots import KvmMemorySlot


@mypyc_attr(acyclic=True)
class KvmGmem:
    """The one file of a machine, of `pages` pages. Page `index` of it is at the host page first + index.

    `bindings`  by index, the memslot that is bound to it.
    `uptodate`, `poisoned`  pfns of folios that are prepared for the guest; that have had a memory error.
    `invalidate_lock`  is filemap_invalidate_lock() held?  `closed`: the process has closed the file.
    `prepare_error`  errno of kvm_arch_gmem_prepare(), which makes a page private in hardware; only SEV-SNP's can fail.
    """

    def __init__(self, first: i64, pages: i64) -> None:
        self.first = first
        self.pages = pages
        self.bindings: dict[int, KvmMemorySlot] = {}
        self.uptodate: dict[int, bool] = {}
        self.poisoned: dict[int, bool] = {}
        self.invalidate_lock = False
        self.closed = False
        self.prepare_error: i64 = 0

    def bind(self, slot: KvmMemorySlot) -> None:
        for index in range(slot.gmem_pgoff, slot.gmem_pgoff + slot.npages):
            self.bindings[index] = slot

    def unbind(self, slot: KvmMemorySlot) -> None:
        for index in range(slot.gmem_pgoff, slot.gmem_pgoff + slot.npages):
            self.bindings.pop(int(index), None)

    def bound(self, start: i64, end: i64) -> list[KvmMemorySlot]:
        """xa_for_each_range(): the memslots that are bound to pages [start, end), in the order of these."""
        slots: list[KvmMemorySlot] = []
        for index in range(start, end):
            slot = self.bindings.get(int(index))
            if slot is not None and slot not in slots:
                slots.append(slot)
        return slots
