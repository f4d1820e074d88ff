# SPDX-License-Identifier: GPL-2.0-only
"""GUP: a reference to the page behind an address, or a pin (mm/gup.c).

The caller may sleep in the slow path, which takes mmap_lock and faults pages in as the process would; the fast path
looks at the host's page tables without any lock, and gives up where a fault would be needed.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_SIGNAL
from ..points import GUP_FAULT, GUP_WAIT, MMAP_READ
from .errno import EAGAIN, EFAULT, EHWPOISON, EINTR
from .host import HOST_D, HOST_PROTNONE, HOST_SHARED, HOST_W, PTE_HWPOISON
from .memory import do_pte_missing, do_wp_page, needs_io, unshare_page
from .mm import Mm

FOLL_WRITE: Final[i64] = 1
FOLL_NOWAIT: Final[i64] = 2  # fail rather than wait for I/O or a lock
FOLL_INTERRUPTIBLE: Final[i64] = 4  # a wait may be interrupted by any signal, not by fatal ones alone
FOLL_PIN: Final[i64] = 8  # a pin, not a plain reference
FOLL_TRIED: Final[i64] = 16  # follows upon a try with FOLL_NOWAIT: here one step with it, nobody runs in between

# Of a fault that has to be repeated.
_AGAIN: Final[i64] = 2
_LOCKED: Final[i64] = 3  # once the page is unlocked


def gup_fast(mm: Mm, hva: i64, flags: i64) -> bool:
    """get_user_page_fast_only(): no sleep, no fault, no dirty mark. True: the page of host.pte[hva] is taken."""
    host = mm.host
    mm.count_gup()
    if host.pte[hva] < 0 or (host.flags[hva] & HOST_PROTNONE) != 0:
        return False
    if not host.vm_normal_page(hva):
        return False
    if (flags & FOLL_WRITE) != 0 and (host.flags[hva] & HOST_W) == 0:
        return False
    if gup_must_unshare(mm, hva, flags):
        return False
    take_page(mm, host.pte[hva], flags)
    return True


def gup_must_unshare(mm: Mm, hva: i64, flags: i64) -> bool:
    """gup_must_unshare(): a pin that only reads must still be of a page that a later copy-on-write cannot replace."""
    if (flags & FOLL_PIN) == 0 or (flags & FOLL_WRITE) != 0:
        return False
    return (mm.host.flags[hva] & HOST_SHARED) != 0 and not mm.host.pages[mm.host.pte[hva]].zero


def take_page(mm: Mm, pfn: i64, flags: i64) -> None:
    """try_grab_folio(): the reference, or the pin."""
    if (flags & FOLL_PIN) != 0:
        mm.host.pin(pfn)
    else:
        mm.host.get(pfn)
    mm.page_taken(pfn, (flags & FOLL_PIN) != 0)


def get_user_pages_unlocked(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, i64]:
    """get_user_pages_unlocked() or pin_user_pages_unlocked() of one page: 1, the page of host.pte[hva] is taken; 0, it
    would have to be waited for (FOLL_NOWAIT); or an errno: -EAGAIN (killed before it had mmap_lock), -EINTR (killed, or
    a wait was interrupted), -EHWPOISON, -EFAULT."""
    mm.count_gup()
    mm.slow_gup()
    if mm.failing(MISHAP_KILLED) or (mm.failing(MISHAP_KILLED_NOWAIT) and (flags & FOLL_NOWAIT) != 0):
        return -EAGAIN
    r = check_fatal_signal(mm, hva, flags)
    if r != 0:
        return r
    r = yield from faultin_page(mm, hva, flags)
    if r == 1:
        take_page(mm, mm.host.pte[hva], flags)
    return r


def get_user_pages(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, i64]:
    """get_user_pages() of one page that is only to be faulted in, not to be taken: 1, or an errno. mmap_lock held."""
    mm.count_gup()
    mm.slow_gup()
    r = check_fatal_signal(mm, hva, flags)
    if r != 0:
        return r
    return (yield from faultin_page(mm, hva, flags))


def with_a_point_of_its_own(look_up: Generator[int, None, i64], point: int) -> Generator[int, None, i64]:
    """A look-up whose fault in GUP stands at another point than others do, since these may follow in the same flow."""
    while True:
        try:
            reached = next(look_up)
        except StopIteration as stop:
            found: i64 = stop.value
            return found
        yield point if reached == GUP_FAULT else reached


def check_fatal_signal(mm: Mm, hva: i64, flags: i64) -> i64:
    """0, or the errno for a task that is being killed: it faults nothing in, but what the VMA forbids comes first."""
    if not mm.failing(MISHAP_KILLED | MISHAP_KILLED_NOWAIT):
        return 0
    r = check_vma_flags(mm, hva, (flags & FOLL_WRITE) != 0)
    return r if r != 0 else -EINTR


def check_vma_flags(mm: Mm, hva: i64, write: bool) -> i64:
    """check_vma_flags(), after the look-up of the VMA: 0 or -EFAULT."""
    if mm.host.vma_is_pfnmap(hva) or not mm.host.vma_is_valid(hva, write):
        return -EFAULT
    return 0


def faultin_page(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, i64]:
    """handle_mm_fault(), as often as it takes: 1, the host PTE allows the access. May sleep; may itself invalidate."""
    mm.might_sleep()
    waited = (flags & FOLL_TRIED) != 0
    while True:
        if not waited:
            yield GUP_FAULT
        waited = False
        if not mm.mmap_lock.can_read():
            yield MMAP_READ
        mm.mmap_lock.read_lock(mm.actor)
        r = yield from handle_mm_fault(mm, hva, flags)
        mm.mmap_lock.read_unlock(mm.actor)
        if r == _LOCKED:
            mm.hva_waiters[mm.actor] = hva
            yield GUP_WAIT
            waited = True
        elif r != _AGAIN:
            return r


def handle_mm_fault(mm: Mm, hva: i64, flags: i64) -> Generator[int, None, i64]:
    """One fault, with mmap_lock held for read: what faultin_page() returns, or _LOCKED or _AGAIN."""
    host = mm.host
    write = (flags & FOLL_WRITE) != 0
    r = check_vma_flags(mm, hva, write)
    if r != 0:
        return r
    if host.pte[hva] == PTE_HWPOISON:
        return -EHWPOISON
    if host.fault_waits(hva) or needs_io(mm, hva):
        if (flags & FOLL_NOWAIT) != 0:
            return 0
        if (flags & FOLL_INTERRUPTIBLE) != 0 and mm.failing(MISHAP_SIGNAL):
            return -EINTR
    if host.fault_waits(hva):
        return _LOCKED
    if host.pte[hva] < 0:
        do_pte_missing(mm, hva, write)
    host.flags[hva] &= ~HOST_PROTNONE
    if not write:
        if not gup_must_unshare(mm, hva, flags):
            return 1
        yield from unshare_page(mm, hva)
        return _AGAIN
    if (host.flags[hva] & HOST_SHARED) != 0:
        yield from do_wp_page(mm, hva)
        return _AGAIN
    # wp_page_reuse(), or page_mkwrite() of a page cache page: no copy, so nothing is invalidated.
    start, end = host.span(hva)
    for page_hva in range(start, end):
        host.flags[page_hva] |= HOST_W | HOST_D
    return 1


def fault_in_user(mm: Mm, hva: i64, write: bool) -> Generator[int, None, bool]:
    """What copy_to_user() and the like take where they have to: the fault of the process itself, which also reaches
    memory that GUP keeps out of. False: the access is not allowed."""
    if mm.host.vma_is_pfnmap(hva):
        r = -EAGAIN
        while r == -EAGAIN:
            if not mm.mmap_lock.can_read():
                yield MMAP_READ
            mm.mmap_lock.read_lock(mm.actor)
            r = yield from fixup_user_fault(mm, hva, write)
            mm.mmap_lock.read_unlock(mm.actor)
        return r == 0
    r = yield from faultin_page(mm, hva, FOLL_WRITE if write else 0)
    return r == 1


def fixup_user_fault(mm: Mm, hva: i64, write: bool) -> Generator[int, None, i64]:
    """fixup_user_fault() where GUP does not go: the owner of a VM_PFNMAP mapping puts a page in. 0, -EAGAIN if
    mmap_lock was dropped meanwhile, -EFAULT, or -EINTR if the task is being killed. mmap_lock held for read."""
    mm.might_sleep()
    yield GUP_FAULT
    mm.mmap_assert_locked()
    host = mm.host
    if not host.vma_is_valid(hva, write):
        return -EFAULT
    if mm.failing(MISHAP_KILLED | MISHAP_KILLED_NOWAIT):
        return -EINTR
    if host.pte[hva] < 0:
        do_pte_missing(mm, hva, write)
        return -EAGAIN
    if write:
        host.flags[hva] |= HOST_W | HOST_D
    return 0
