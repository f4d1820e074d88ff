# SPDX-License-Identifier: GPL-2.0-only
"""What the process may do to its pages: mprotect(), and NUMA hinting (change_protection(): mm/mprotect.c)."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..points import MMAP_READ, MMAP_WRITE
from .filemap import wait_unlocked
from .host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W
from .mm import Mm
from .vma import VM_SHARED, VM_WRITE


def change_protection_numa(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """NUMA hinting (task_numa_work()): the PTEs become PROT_NONE for a while, the pages stay."""
    if not mm.mmap_lock.can_read():
        yield MMAP_READ
    mm.mmap_lock.read_lock(mm.actor)
    yield from change_prot_numa(mm, start, end)
    mm.mmap_lock.read_unlock(mm.actor)


def change_prot_numa(mm: Mm, start: i64, end: i64) -> Generator[int, None, None]:
    """change_prot_numa(): a huge PTE changes as a whole. mmap_lock held for read."""
    mm.mmap_assert_locked()
    start, end = mm.host.span(start)[0], mm.host.span(end - 1)[1]
    yield from wait_unlocked(mm, start, end)
    yield from mm.mmu_notifier_invalidate_range_start(start, end)
    for hva in range(start, end):
        if mm.host.pte[hva] >= 0:
            mm.host.flags[hva] |= HOST_PROTNONE
    yield from mm.mmu_notifier_invalidate_range_end(start, end)


def mprotect(mm: Mm, hva: i64, write: bool) -> Generator[int, None, None]:
    """mprotect() of the VMA around hva: PROT_READ, with PROT_WRITE if `write`. mmap_lock held for write."""
    host = mm.host
    yield MMAP_WRITE
    mm.mmap_lock.write_lock(mm.actor)
    vm_flags = host.vma_flags(hva)
    may_write = (host.kind(hva).vm_flags & VM_WRITE) != 0  # VM_MAYWRITE
    if vm_flags != 0 and (may_write or not write):
        host.vm_flags[hva // host.block] = vm_flags | VM_WRITE if write else vm_flags & ~VM_WRITE
        first, end = host.block_of(hva)
        yield from mm.mmu_notifier_invalidate_range_start(first, end)
        for page_hva in range(first, end):
            change_pte(mm, page_hva, write)
        yield from mm.mmu_notifier_invalidate_range_end(first, end)
    mm.mmap_lock.write_unlock(mm.actor)


def change_pte(mm: Mm, hva: i64, write: bool) -> None:
    """change_pte_range() of one PTE. One that may be written at once is made so: see can_change_pte_writable()."""
    host = mm.host
    if host.pte[hva] < 0:
        return
    flags = host.flags[hva] & ~(HOST_W | HOST_PROTNONE)
    if write and can_change_pte_writable(mm, hva):
        flags |= HOST_W
    host.flags[hva] = flags


def can_change_pte_writable(mm: Mm, hva: i64) -> bool:
    """can_change_pte_writable(): would a write find nothing to do? A private page must be exclusive; a shared one of a
    filesystem that wants to know (vma_wants_writenotify()), dirty already."""
    host = mm.host
    if (host.vma_flags(hva) & VM_SHARED) == 0:
        return (host.flags[hva] & HOST_SHARED) == 0
    return not host.kind(hva).page_mkwrite or (host.flags[hva] & HOST_D) != 0
