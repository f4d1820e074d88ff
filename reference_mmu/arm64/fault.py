# SPDX-License-Identifier: GPL-2.0-only
"""The data or prefetch abort of a guest (kvm_handle_guest_abort() in arch/arm64/kvm/mmu.c).

Left out: MTE, nested guests.  The block size comes from the host's page table alone, as
transparent_hugepage_adjust() finds it, so mmap_lock, under which the kernel asks the VMA for hugetlb and for VM_PFNMAP,
is not taken; what is mapped by pfn is mapped page by page.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_pfn_memslot, kvm_faultin_pfn
from ..kvm.memslots import KvmMemorySlot
from ..kvm.mmu_notifier import mmu_invalidate_retry
from ..kvm.pfn import is_error_noslot_pfn
from ..kvm.release import (
    kvm_release_faultin_page,
    kvm_release_pfn_clean,
    kvm_release_pfn_dirty,
    kvm_set_pfn_accessed,
    kvm_set_pfn_dirty,
)
from ..kvm.vcpu import KvmVcpu
from ..mm.errno import EAGAIN, EFAULT, ENOEXEC
from ..mm.gup import FOLL_WRITE
from ..observed import PF_EMULATE, PF_ERROR, PF_FAST, PF_FIXED, PF_INJECTED, PF_RETRY
from ..stage2.fault import ACCESS_FLAG_FAULT, PERMISSION_FAULT, Fault
from ..stage2.faultin import new_faultin
from ..stage2.machine import Stage2Machine
from ..stage2.memory_cache import kvm_mmu_topup_memory_cache
from ..stage2.memslot import memslot_is_logging, memslot_of_fault, supports_huge_mapping
from ..stage2.pte import S2_MAY_WRITE, S2_WRITE, S2_YOUNG, make_leaf, pfn_of
from .pgtable import kvm_pgtable_stage2_map, kvm_pgtable_stage2_mkyoung, kvm_pgtable_stage2_relax_perms
from .points import ACCESS_LOCK, ACCESS_MARK, FAULT_GUP, FAULT_LOCK, FAULT_LOG, FAULT_MARK, FAULT_PUT, FAULT_SEQ


def kvm_handle_guest_abort(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault) -> Generator[int, None, i64]:
    """Returns PF_*. SRCU held."""
    slot = memslot_of_fault(m, fault)
    if slot is None:
        return PF_EMULATE
    if fault.kind == ACCESS_FLAG_FAULT:
        return (yield from handle_access_fault(m, fault))
    ret = yield from user_mem_abort(m, vcpu, fault, slot)
    # The kernel says 0 for -EAGAIN, too: the guest just repeats the access.
    if ret == -EAGAIN:
        return PF_RETRY
    if ret == -ENOEXEC:
        return PF_INJECTED  # kvm_inject_pabt()
    return PF_FIXED if ret == 0 else PF_ERROR


def handle_access_fault(m: Stage2Machine, fault: Fault) -> Generator[int, None, i64]:
    """All is in order but the access flag. Returns PF_*. What was marked is the page that the leaf names: of a block
    that is its first one."""
    yield ACCESS_LOCK
    m.read_lock()
    ret, pte = yield from kvm_pgtable_stage2_mkyoung(m, fault.gfn)
    m.read_unlock()
    if not m.sem.arm64_mkyoung_no_mark_accessed:
        yield ACCESS_MARK
        if pte != 0:
            kvm_set_pfn_accessed(m, pfn_of(pte))
    return PF_FAST if ret == 0 else PF_RETRY


def user_mem_abort(m: Stage2Machine, vcpu: KvmVcpu, fault: Fault, slot: KvmMemorySlot) -> Generator[int, None, i64]:
    """Map the page, or allow more of it. Returns 0, -EAGAIN if the page is possibly gone or the entry somebody else's
    at the moment, -EFAULT, -ENOEXEC, -ENOMEM."""
    logging_active = memslot_is_logging(slot)
    # A fault on permissions finds its leaf there, and needs no table unless it splits a block.
    if fault.kind != PERMISSION_FAULT or (logging_active and fault.write):
        ret = kvm_mmu_topup_memory_cache(m, vcpu, m.levels - 1)
        if ret != 0:
            return ret
    yield FAULT_SEQ
    mmu_seq = m.mmu_invalidate_seq
    yield FAULT_GUP
    out = new_faultin(m, fault)
    foll: i64 = FOLL_WRITE if fault.write else 0
    if m.sem.arm64_faultin_pfn:
        pfn = yield from kvm_faultin_pfn(m, slot, fault.gfn, foll, out)
    else:
        pfn = yield from gfn_to_pfn_memslot(m, slot, fault.gfn, foll, out)
    # Of a poisoned page the process is sent SIGBUS, which ends the access as -EFAULT does.
    if is_error_noslot_pfn(pfn):
        return -EFAULT
    device = kvm_is_device_pfn(m, pfn)
    if device and fault.fetch:
        return -ENOEXEC  # with the reference that was taken
    writable = out.writable and (device or fault.write or not logging_active)
    if writable:
        m.unlogged.append(int(fault.gfn))
    yield FAULT_LOCK
    m.read_lock()
    ret = -EAGAIN
    if not mmu_invalidate_retry(m, mmu_seq):
        rights: i64 = S2_WRITE | S2_MAY_WRITE if writable else 0
        level: i64 = 1 if device else block_level(m, fault, slot)
        if fault.kind == PERMISSION_FAULT and level == fault.level:
            ret = yield from kvm_pgtable_stage2_relax_perms(m, vcpu, fault.gfn, rights)
        else:
            pfn = pfn & ~(m.pages_per_hpage(level) - 1)  # transparent_hugepage_adjust()
            gfn = m.gfn_round_for_level(fault.gfn, level)
            ret = yield from kvm_pgtable_stage2_map(m, vcpu, gfn, level, make_leaf(pfn, rights | S2_YOUNG))
    yield from finish_fault(m, slot, fault.gfn, pfn, out.page, writable, ret)
    return ret


def kvm_is_device_pfn(m: Stage2Machine, pfn: i64) -> bool:
    """kvm_is_device_pfn(): not memory that the kernel maps, which persistent memory (ZONE_DEVICE) is not either."""
    page = m.host.pages[pfn]
    return not page.has_struct or page.zone_device


def block_level(m: Stage2Machine, fault: Fault, slot: KvmMemorySlot) -> i64:
    """The size of the mapping. mmu_lock held, and the page is not stale: the host's page table can be trusted."""
    if memslot_is_logging(slot):
        return 1
    if fault.kind == PERMISSION_FAULT and fault.level > 1:
        return fault.level
    hva = slot.hva + fault.gfn - slot.base_gfn
    if supports_huge_mapping(m, slot, hva):
        return m.host.mapping_level(hva)  # get_user_mapping_size()
    return 1


def finish_fault(
    m: Stage2Machine, slot: KvmMemorySlot, gfn: i64, pfn: i64, page: i64, writable: bool, ret: i64
) -> Generator[int, None, None]:
    """From the mapping to the end: marks, mmu_lock, the dirty bitmap, the reference. `page` is what kvm_faultin_pfn()
    returned; before that was used `pfn` had to do, even one that had been aligned down to a block's."""
    sem = m.sem
    dirty = writable and ret == 0
    if sem.arm64_faultin_pfn:
        kvm_release_faultin_page(m, page, ret != 0, writable)
    elif sem.arm64_accessed_dirty_before_unlock:
        if dirty:
            kvm_release_pfn_dirty(m, pfn)
        else:
            kvm_release_pfn_clean(m, pfn)
    m.read_unlock()
    if not sem.arm64_accessed_dirty_before_unlock:
        yield FAULT_MARK
        if dirty:
            kvm_set_pfn_dirty(m, pfn)
    if dirty:
        yield FAULT_LOG
        m.mark_page_dirty_in_slot(slot, gfn)
    if writable:
        m.unlogged.remove(int(gfn))
    if not sem.arm64_accessed_dirty_before_unlock:
        yield FAULT_PUT
        kvm_release_pfn_clean(m, pfn)
