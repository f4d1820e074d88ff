# SPDX-License-Identifier: GPL-2.0-only
"""VMAs go and come (mm/mmap.c, mm/vma.c). One is a block here, so they do so as a whole."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..points import MMAP_WRITE
from ..rwlock import ModelBug
from .memory import zap_page_range
from .mm import Mm

_NEW: Final = "untouched"  # the kind of a new mapping


def munmap(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """munmap() of the VMA around hva. It is detached with mmap_lock held for write, so that no fault finds it; the
    pages go with the lock held for read only."""
    yield MMAP_WRITE
    mm.mmap_lock.write_lock(mm.actor)
    mapped = mm.host.vma_flags(hva) != 0
    mm.host.vm_flags[hva // mm.host.block] = 0
    mm.mmap_lock.downgrade(mm.actor)
    if mapped:
        yield from unmap_region(mm, hva)
    mm.mmap_lock.read_unlock(mm.actor)


def mmap_fixed(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """mmap(MAP_FIXED | MAP_ANONYMOUS): what was mapped there goes, and memory that nobody has touched is there. Raises
    ModelBug if a page is left: mmap_lock is to keep out who would fault one in."""
    host = mm.host
    block = hva // host.block
    yield MMAP_WRITE
    mm.mmap_lock.write_lock(mm.actor)
    if host.vma_flags(hva) != 0:
        yield from unmap_region(mm, hva)
    first, end = host.block_of(hva)
    for page_hva in range(first, end):
        if host.page_at(page_hva) >= 0:
            raise ModelBug(f"hva {page_hva}: a new mapping finds a page of the one before")
    host.set_kind(block, _NEW)
    mm.mmap_lock.write_unlock(mm.actor)


def unmap_region(mm: Mm, hva: i64) -> Generator[int, None, None]:
    """unmap_region(): PTEs and page tables of a whole VMA."""
    host = mm.host
    first, end = host.block_of(hva)
    yield from mm.mmu_notifier_invalidate_range_start(first, end)
    zap_page_range(mm, first, end, True)
    host.huge[first // host.block] = False
    host.pmd_none[first // host.block] = False
    yield from mm.mmu_notifier_invalidate_range_end(first, end)
