# SPDX-License-Identifier: GPL-2.0-only
"""Getting a host page: hva_to_pfn() and the part of GUP below it (virt/kvm/kvm_main.c, mm/gup.c, mm/memory.c)."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from mypy_extensions import i64

from ..kvm.mmu_notifier import kvm_mmu_notifier_invalidate_range_end, kvm_mmu_notifier_invalidate_range_start
from ..x86.points import GUP_FAULT, GUP_WAIT
from .mm import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_BUSY

if TYPE_CHECKING:
    from ..x86.machine import Machine


def hva_to_pfn(m: Machine, hva: i64, write: bool, upgrade_fails: bool) -> Generator[int, None, tuple[i64, bool]]:
    """Returns (pfn, map_writable) with a reference held.

    Reads, too, first ask for a writable page without sleeping; if that fails they take what the slow path gives and
    try once more to upgrade it. `upgrade_fails` makes both attempts of a read fail, as they may at any time.
    """
    if (write or not upgrade_fails) and gup_fast(m, hva, True):
        return m.host.pte[hva], True
    yield from faultin_page(m, hva, write)
    pfn = m.host.pte[hva]
    m.host.get(pfn)
    if write:
        return pfn, True
    writable = not upgrade_fails and (m.host.flags[hva] & HOST_W) != 0
    return pfn, writable


def gup_fast(m: Machine, hva: i64, write: bool) -> bool:
    """get_user_page_fast_only(): no sleep, no fault, no dirty mark. True: a reference was taken."""
    host = m.host
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_PROTNONE) != 0:
        return False
    if write and (host.flags[hva] & HOST_W) == 0:
        return False
    host.get(host.pte[hva])
    return True


def faultin_page(m: Machine, hva: i64, write: bool) -> Generator[int, None, None]:
    """handle_mm_fault(): when it returns, the host PTE allows the access. May sleep; may itself invalidate."""
    m.might_sleep()
    host = m.host
    while True:
        yield GUP_FAULT
        while host.pte[hva] == PTE_BUSY:
            m.hva_waiters[m.actor] = hva
            yield GUP_WAIT
        if host.pte[hva] < 0:
            do_swap_page(m, hva, write)
        host.flags[hva] &= ~HOST_PROTNONE
        if not write:
            return
        if (host.flags[hva] & HOST_SHARED) != 0:
            yield from do_wp_page_copy(m, hva)
            continue
        # wp_page_reuse(), or page_mkwrite() of a page cache page: no copy, so nothing is invalidated.
        host.flags[hva] |= HOST_W | HOST_D
        return


def do_swap_page(m: Machine, hva: i64, write: bool) -> None:
    """Map the page again: from the swap or page cache if it is still there, else read it back. A read gets a
    read-only PTE, except of shmem: a shared mapping without page_mkwrite() is writable, and clean, at once."""
    host = m.host
    pfn = host.swap_cache[hva]
    if pfn < 0:
        pfn = host.alloc(hva, host.swap[hva])
    flags = HOST_W if host.backing[hva // host.block] == "shmem" else 0
    host.set_pte(hva, pfn, HOST_W | HOST_D if write else flags)  # the cache's reference becomes the mapping's


def do_wp_page_copy(m: Machine, hva: i64) -> Generator[int, None, None]:
    """wp_page_copy(): break copy-on-write. The old page goes away under everyone who maps it, KVM included, so the
    fault that asked for it makes itself stale."""
    host = m.host
    yield from kvm_mmu_notifier_invalidate_range_start(m, hva, hva + 1)
    if host.pte[hva] >= 0 and (host.flags[hva] & HOST_SHARED) != 0:
        old = host.pte[hva]
        new = host.alloc(hva, host.pages[old].data)
        host.set_pte(hva, new, HOST_W | HOST_D)
        m.put_page(old)
    yield from kvm_mmu_notifier_invalidate_range_end(m, hva, hva + 1)
