# SPDX-License-Identifier: GPL-2.0-only
"""The APIC access page: one page of KVM's own that every vCPU names in its VMCS (lapic.c, vmx/vmx.c, mmu/mmu.c).

Guest accesses that hardware translates to the page in APIC_ACCESS_ADDR are accesses to the virtual APIC. What is in the
page matters to nobody, but which page it is does: the field is a translation that no page table holds, so a notifier
that unmaps the page has every vCPU leave the guest and look it up again before it enters: KVM_REQ_APIC_PAGE_RELOAD. A
VMCS that is not renewed makes some other page of memory the APIC, once the host has given the old one away.

    vmx_set_apic_access_page_addr()   snapshot of mmu_invalidate_seq, the page, mmu_lock, stale check, VMCS, release

The memslot is KVM's private one, over a page that KVM has mmapped into the process. What the guest's own accesses to
that gfn do to SPTEs is a page fault like any other; that hardware then asks the virtual APIC instead of the page is
left out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from mypy_extensions import i64

from ..config import MAX_SLOTS, SlotConfig
from ..kvm.faultin import Faultin, gfn_to_page, gfn_to_pfn, kvm_faultin_pfn
from ..kvm.memslot_update import id_to_memslot, kvm_swap_active_memslots, overlaps
from ..kvm.memslots import find_slot
from ..kvm.mmu_notifier import mmu_invalidate_retry_gfn
from ..kvm.pfn import NO_PAGE, is_error_noslot_pfn
from ..kvm.release import kvm_release_page_clean, kvm_release_pfn_clean
from ..mm.errno import EEXIST, EFAULT
from ..mm.gup import FOLL_WRITE, with_a_point_of_its_own
from ..observed import EV_ERRNO
from ..operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_NO_MEMORY
from ..points import SLOTS_LOCK
from .machine import Machine
from .points import APIC_AGAIN, APIC_FAULT_IN, APIC_LOCK, APIC_LOOK_UP, APIC_RELEASE, APIC_REQUEST, APIC_SEQ
from .vcpu_arch import Vcpu

APIC_ACCESS_PAGE_PRIVATE_MEMSLOT: Final[i64] = MAX_SLOTS
"""The first number that is none of userspace's."""


# --- the memslot -----------------------------------------------------------------------------------------------------


def create_lapic(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """What KVM_CREATE_VCPU does for the APIC: kvm_alloc_apic_access_page(), and vmx_vcpu_reset() has the vCPU load the
    page before it runs. A vCPU of the model that has not come here yet runs without a virtual APIC."""
    m.vm_exit(vcpu)
    vcpu.exits += 1
    r = yield from kvm_alloc_apic_access_page(m)
    if r != 0:
        m.record(EV_ERRNO, -r)
        return
    vcpu.virtualizes_apic_accesses = True
    vcpu.apic_page_reload = True


def kvm_alloc_apic_access_page(m: Machine) -> Generator[int, None, i64]:
    """kvm_alloc_apic_access_page(): 0, -EEXIST or -EFAULT. The first vCPU makes the memslot for all."""
    yield SLOTS_LOCK
    m.slots_lock = True
    r: i64 = 0
    if not m.apic_access_memslot_enabled:
        r = yield from make_apic_access_memslot(m)
        m.apic_access_memslot_enabled = r == 0
    if r != 0:
        m.oracle.vcpu_not_created(m, id_to_memslot(m, APIC_ACCESS_PAGE_PRIVATE_MEMSLOT) is not None)
    m.slots_lock = False
    return r


def make_apic_access_memslot(m: Machine) -> Generator[int, None, i64]:
    """The part under slots_lock. A slot whose page could not be had stays, and is in the way of the next attempt."""
    page = m.apic_page
    assert page is not None
    number = APIC_ACCESS_PAGE_PRIVATE_MEMSLOT
    if id_to_memslot(m, number) is not None or overlaps(m, number, page.base, page.npages):
        return -EEXIST
    yield from kvm_swap_active_memslots(m, number, m.new_memslot(number, page))
    if m.sem.apic_page_no_initial_fault_in:
        return 0
    taken = yield from initial_page(m, page)
    if taken == NO_PAGE:
        return -EFAULT
    m.kvm_put_page(taken)
    return 0


def initial_page(m: Machine, page: SlotConfig) -> Generator[int, None, i64]:
    """gfn_to_page() for a page that is most likely to be faulted in: that one fault has a point of its own. NO_PAGE if
    there is no memory for it."""
    if m.failing(MISHAP_NO_MEMORY) and m.host.page_at(page.hva) < 0:
        return NO_PAGE
    flow = gfn_to_page(m, m.gfn_to_memslot(page.base), page.base, True)
    return (yield from with_a_point_of_its_own(flow, APIC_FAULT_IN))


# --- the request, and its handling -----------------------------------------------------------------------------------


def request_apic_page_reload(m: Machine) -> Generator[int, None, None]:
    """kvm_make_all_cpus_request(KVM_REQ_APIC_PAGE_RELOAD), which waits until all vCPUs are out of the guest. mmu_lock
    held for write."""
    for vcpu in m.x86_vcpus:
        vcpu.apic_page_reload = True
    yield APIC_REQUEST
    m.kick_all()


def kvm_vcpu_reload_apic_access_page(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Handle KVM_REQ_APIC_PAGE_RELOAD, which is up, before entering the guest. It may be up again afterwards."""
    vcpu.apic_page_reload = False
    if vcpu.guest_mode:
        vcpu.reload_vmcs01_apic_access_page = True  # the VMCS of L1 is not the current one
        return
    if not vcpu.virtualizes_apic_accesses:
        return
    m.srcu.lock(m.actor)
    vcpu.reloads_apic_page = True
    yield from vmx_set_apic_access_page_addr(m, vcpu)
    vcpu.reloads_apic_page = False
    m.srcu.unlock(m.actor)
    if vcpu.apic_page_reload:
        # In the kernel it spins, as long as the invalidation is in progress.
        yield APIC_AGAIN
    else:
        m.oracle.apic_page_used(m, vcpu)


def vmx_set_apic_access_page_addr(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """vmx_set_apic_access_page_addr(). If the page cannot be had the VMCS stays as it is. SRCU held."""
    slot = find_slot(m.kvm_memslots(), APIC_ACCESS_PAGE_PRIVATE_MEMSLOT)
    if slot is None or slot.invalid:
        return
    gfn = slot.base_gfn
    yield APIC_SEQ
    # The snapshot comes first: an invalidation that starts later makes the page stale.
    mmu_seq = m.mmu_invalidate_seq
    yield APIC_LOOK_UP
    out = Faultin(False)
    if m.sem.vmx_apic_page_faultin_pfn:
        pfn = yield from kvm_faultin_pfn(m, slot, gfn, FOLL_WRITE, out)
    else:
        pfn = yield from gfn_to_pfn(m, slot, gfn, True)
    if is_error_noslot_pfn(pfn):
        if m.failing(MISHAP_KILLED | MISHAP_KILLED_NOWAIT):
            vcpu.virtualizes_apic_accesses = False  # whoever is killed never enters; here it goes on, without an APIC
        return

    yield APIC_LOCK
    m.read_lock()
    if mmu_invalidate_retry_gfn(m, mmu_seq, gfn):
        vcpu.apic_page_reload = True
    else:
        vcpu.apic_access_addr = pfn
    if m.sem.vmx_apic_page_hold_mmu_lock:
        release_apic_access_page(m, pfn, out.page)
    m.read_unlock()
    if not m.sem.vmx_apic_page_hold_mmu_lock:
        yield APIC_RELEASE
        release_apic_access_page(m, pfn, out.page)


def release_apic_access_page(m: Machine, pfn: i64, page: i64) -> None:
    """Let go of the page, which the notifier watches over: as accessed, whether or not it was stale."""
    if not m.sem.vmx_apic_page_faultin_pfn:
        kvm_release_pfn_clean(m, pfn)
        return
    if not m.warn_on(page == NO_PAGE, "vmx_set_apic_access_page_addr: memory without a struct page"):
        kvm_release_page_clean(m, page)
