# SPDX-License-Identifier: GPL-2.0-only
"""Pages of a guest_memfd: given out to faults of private memory, taken away by a hole (virt/kvm/guest_memfd.c).

A page is allocated when it is asked for first, and belongs to the file until a hole is punched: it is neither reclaimed
nor migrated, and that it is dirty or was accessed means nothing.  The mmu_notifier does not know of it, so a hole does
to the memslots what a notifier would: zap, begin and end of an invalidation.  filemap_invalidate_lock() keeps the
bindings the same from begin to end; faults do not take it, they see that they are stale.

Left out: closing the file while a memslot is bound to it, and large folios.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64, mypyc_attr

from ..mm.errno import EEXIST, EFAULT, EHWPOISON, EINVAL, EIO, ENOMEM
from ..mm.filemap import folio_lock, folio_unlock, unlock_if_taken
from ..mm.host import HOST_W, PTE_NONE
from ..operations import MISHAP_NO_MEMORY
from ..points import (
    GMEM_BIND,
    GMEM_END_LOCK,
    GMEM_ERROR,
    GMEM_FLUSH,
    GMEM_HOLE,
    GMEM_LOCK,
    GMEM_PREPARE,
    GMEM_TRUNCATE,
)
from .flush import kvm_flush_remote_tlbs
from .gmem import KvmGmem
from .kvm import Kvm
from .memslots import KvmGfnRange, KvmMemorySlot
from .mmu_notifier import kvm_mmu_invalidate_begin, kvm_mmu_invalidate_end, kvm_mmu_invalidate_range_add
from .pfn import NO_PAGE

# --- a page of the file ----------------------------------------------------------------------------------------------


@mypyc_attr(acyclic=True, free_list_len=1)
class GmemPage:
    """What a caller gets: `pfn`, and since gmem-return-struct-page the page, if all went well."""

    def __init__(self) -> None:
        self.pfn: i64 = 0
        self.page: i64 = NO_PAGE


def kvm_gmem_get_index(slot: KvmMemorySlot, gfn: i64) -> i64:
    """kvm_gmem_get_index()"""
    return gfn - slot.base_gfn + slot.gmem_pgoff


def kvm_gmem_get_file(kvm: Kvm) -> KvmGmem | None:
    """kvm_gmem_get_file(): None if the file was closed."""
    gmem = kvm.gmem
    return None if gmem is None or gmem.closed else gmem


def kvm_gmem_get_pfn(kvm: Kvm, slot: KvmMemorySlot, gfn: i64, out: GmemPage) -> Generator[int, None, i64]:
    """kvm_gmem_get_pfn(): 0, with a reference to the page, or -EFAULT, -EIO, -EHWPOISON, -ENOMEM, or what preparing the
    page says. The order of the folio, always 0, is left out."""
    gmem = kvm_gmem_get_file(kvm)
    if gmem is None:
        return -EFAULT
    where = kvm_gmem_get_index(slot, gfn) if kvm.sem.gmem_pass_index else gfn
    pfn = yield from __kvm_gmem_get_pfn(kvm, gmem, slot, where)
    if pfn < 0:
        return pfn
    out.pfn = pfn
    yield GMEM_PREPARE
    r: i64 = 0
    if int(pfn) not in gmem.uptodate:
        r = kvm_gmem_prepare_folio(gmem, pfn)
    folio_unlock(kvm, pfn)
    if r < 0:
        kvm.kvm_put_page(pfn)
    elif kvm.sem.gmem_return_struct_page:
        out.page = pfn
    return r


def __kvm_gmem_get_pfn(kvm: Kvm, gmem: KvmGmem, slot: KvmMemorySlot, where: i64) -> Generator[int, None, i64]:
    """__kvm_gmem_get_pfn(): the page, its folio locked and with a reference, or an errno. `where`: the index in the
    file, or, before gmem-pass-index, the gfn."""
    index = where if kvm.sem.gmem_pass_index else kvm_gmem_get_index(slot, where)
    bound = gmem.bindings.get(int(index))
    if bound is not slot:
        kvm.warn_on(bound is not None, "__kvm_gmem_get_pfn: another memslot is bound there")
        return -EIO
    pfn = yield from kvm_gmem_get_folio(kvm, gmem, index)
    if pfn >= 0 and int(pfn) in gmem.poisoned:
        folio_unlock(kvm, pfn)
        kvm.kvm_put_page(pfn)
        return -EHWPOISON
    return pfn


def kvm_gmem_get_folio(kvm: Kvm, gmem: KvmGmem, index: i64) -> Generator[int, None, i64]:
    """kvm_gmem_get_folio(): the page, which may be a new one of zeroes, locked and with a reference, or -ENOMEM."""
    host = kvm.host
    hva = gmem.first + index
    kvm.might_sleep()
    pfn = yield from folio_lock(kvm, hva)
    if pfn < 0:
        if kvm.failing(MISHAP_NO_MEMORY):
            return -ENOMEM
        pfn = host.alloc(hva, 0)
        host.place(hva, pfn, HOST_W)
        host.folio(pfn).locked_by = kvm.actor
    host.get(pfn)
    kvm.page_taken(pfn, False)
    return pfn


def kvm_gmem_prepare_folio(gmem: KvmGmem, pfn: i64) -> i64:
    """kvm_gmem_prepare_folio(): 0, or an errno. The folio is locked; that it is cleared here makes no difference."""
    if gmem.prepare_error == 0:
        gmem.uptodate[int(pfn)] = True
    return -gmem.prepare_error


def kvm_gmem_populate(kvm: Kvm, start_gfn: i64, npages: i64, data: i64) -> Generator[int, None, i64]:
    """kvm_gmem_populate(): fill pages before the guest runs, up to the first that is in use already. How many were
    filled, or the errno if there is none. slots_lock held; who calls it, the launch of SEV-SNP, is left out."""
    kvm.lockdep_assert(kvm.slots_lock)
    slot = kvm.gfn_to_memslot(start_gfn)
    if slot is None or not slot.kvm_slot_can_be_private():
        return -EINVAL
    gmem = kvm_gmem_get_file(kvm)
    if gmem is None:
        return -EFAULT
    yield GMEM_BIND
    gmem.invalidate_lock = True
    done: i64 = 0
    r: i64 = 0
    for gfn in range(start_gfn, min(start_gfn + npages, slot.end_gfn())):
        r = yield from populate_page(kvm, gmem, slot, gfn, data)
        if r != 0:
            break
        done += 1
    gmem.invalidate_lock = False
    return r if done == 0 else done


def populate_page(kvm: Kvm, gmem: KvmGmem, slot: KvmMemorySlot, gfn: i64, data: i64) -> Generator[int, None, i64]:
    """One round of kvm_gmem_populate(): 0 or an errno."""
    where = kvm_gmem_get_index(slot, gfn) if kvm.sem.gmem_pass_index else gfn
    pfn = yield from __kvm_gmem_get_pfn(kvm, gmem, slot, where)
    if pfn < 0:
        return pfn
    folio_unlock(kvm, pfn)
    r: i64 = 0
    if int(pfn) in gmem.uptodate:
        r = -EEXIST
    elif not kvm.kvm_mem_is_private(gfn):
        r = -EINVAL
    else:
        kvm.host.pages[pfn].data = data
        kvm.host.reference[kvm.host.pages[pfn].hva] = data
        gmem.uptodate[int(pfn)] = True
    kvm.kvm_put_page(pfn)
    return r


# --- a hole ----------------------------------------------------------------------------------------------------------


def kvm_gmem_punch_hole(kvm: Kvm, start: i64, npages: i64) -> Generator[int, None, None]:
    """fallocate() with FALLOC_FL_PUNCH_HOLE: pages [start, start + npages) of the file are gone, and zeroes when they
    are next asked for."""
    gmem = kvm.gmem
    assert gmem is not None  # without a file there is no such operation
    end = min(start + npages, gmem.pages)
    yield GMEM_HOLE
    gmem.invalidate_lock = True
    yield from kvm_gmem_invalidate_begin(kvm, gmem, start, end)
    for index in range(start, end):
        yield GMEM_TRUNCATE
        yield from truncate_page(kvm, gmem, index)
    yield from kvm_gmem_invalidate_end(kvm, gmem, start, end)
    gmem.invalidate_lock = False


def kvm_gmem_invalidate_begin(kvm: Kvm, gmem: KvmGmem, start: i64, end: i64) -> Generator[int, None, None]:
    """kvm_gmem_invalidate_begin(): nobody maps the pages, and faults that looked one up are stale. mmu_lock is taken
    only if a memslot is bound to any of them."""
    slots = gmem.bound(start, end)
    if slots:
        yield GMEM_LOCK
        kvm.write_lock()
        kvm_mmu_invalidate_begin(kvm)
        flush = False
        for slot in slots:
            pgoff = slot.gmem_pgoff
            first = slot.base_gfn + max(pgoff, start) - pgoff
            gfn_range = KvmGfnRange(slot, first, slot.base_gfn + min(pgoff + slot.npages, end) - pgoff)
            kvm_mmu_invalidate_range_add(kvm, gfn_range.start, gfn_range.end)
            zapped = yield from kvm.kvm_unmap_gfn_range(gfn_range)
            flush = flush or zapped
        if flush:
            yield from kvm_flush_remote_tlbs(kvm, GMEM_FLUSH)
        kvm.write_unlock()
    kvm.oracle.invalidate_started(kvm, gmem.first + start, gmem.first + end)


def kvm_gmem_invalidate_end(kvm: Kvm, gmem: KvmGmem, start: i64, end: i64) -> Generator[int, None, None]:
    """kvm_gmem_invalidate_end()"""
    slots = gmem.bound(start, end)
    if slots:
        yield GMEM_END_LOCK
        kvm.write_lock()
    kvm.oracle.invalidate_ended(kvm, gmem.first + start, gmem.first + end)
    if slots:
        kvm_mmu_invalidate_end(kvm)
        kvm.write_unlock()


def truncate_page(kvm: Kvm, gmem: KvmGmem, index: i64) -> Generator[int, None, None]:
    """truncate_inode_pages_range(), of one page: out of the page cache, and freed if nobody else holds it."""
    hva = gmem.first + index
    pfn = yield from folio_lock(kvm, hva)
    if pfn < 0:
        return
    host = kvm.host
    host.pte[hva] = PTE_NONE
    host.flags[hva] = 0
    host.pages[pfn].discarded = True
    kvm.forget(hva)
    folio_unlock(kvm, pfn)
    kvm.put_page(pfn)


# --- an error of memory ----------------------------------------------------------------------------------------------


def kvm_gmem_memory_failure(kvm: Kvm, index: i64) -> Generator[int, None, None]:
    """memory_failure() of a page of the file. It stays there, with a reference that the error keeps for good, until
    userspace punches a hole; who asks for it gets -EHWPOISON."""
    gmem = kvm.gmem
    assert gmem is not None  # without a file there is no such operation
    hva = gmem.first + index
    pfn = kvm.host.page_at(hva)
    if pfn < 0 or int(pfn) in gmem.poisoned:
        return
    gmem.poisoned[int(pfn)] = True
    kvm.host.share(pfn)
    locked = yield from folio_lock(kvm, hva)
    if locked == pfn:
        yield from kvm_gmem_error_folio(kvm, gmem, index)
    unlock_if_taken(kvm, locked)


def kvm_gmem_error_folio(kvm: Kvm, gmem: KvmGmem, index: i64) -> Generator[int, None, None]:
    """kvm_gmem_error_folio(): nobody maps the page any more. The folio is locked, and the lock of the file taken after
    it, while a hole takes them the other way round. It is shared, but for errors only, which come one at a time
    (mf_mutex)."""
    yield GMEM_ERROR
    gmem.invalidate_lock = True
    yield from kvm_gmem_invalidate_begin(kvm, gmem, index, index + 1)
    yield from kvm_gmem_invalidate_end(kvm, gmem, index, index + 1)
    gmem.invalidate_lock = False


# --- memslots --------------------------------------------------------------------------------------------------------


def kvm_gmem_bind(kvm: Kvm, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """kvm_gmem_bind(). The configuration sees to it that no two memslots share a page of the file."""
    gmem = kvm.gmem
    assert gmem is not None
    yield GMEM_BIND
    gmem.bind(slot)


def kvm_gmem_unbind(kvm: Kvm, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """kvm_gmem_unbind(): the memslot is gone, its pages stay in the file."""
    gmem = kvm.gmem
    assert gmem is not None
    yield GMEM_BIND
    gmem.unbind(slot)
