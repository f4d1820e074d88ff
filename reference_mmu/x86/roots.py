# SPDX-License-Identifier: GPL-2.0-only
"""Finding, loading and dropping roots (kvm_mmu_load(), kvm_tdp_mmu_alloc_root(), kvm_mmu_free_obsolete_roots())."""

from __future__ import annotations

from collections.abc import Generator

from .machine import Machine
from .obsolete import is_obsolete_sp
from .page_table import KvmMmuPage
from .points import VCPU_LOAD, VCPU_UNLOAD
from .shadow_mmu.indirect_page import mmu_alloc_shadow_root
from .shadow_mmu.read_gpte import gfn_to_hva_prot
from .shadow_mmu.shadow_page import mmu_alloc_root, mmu_free_root_page
from .shadow_mmu.sync import kvm_mmu_sync_roots
from .tdp_mmu.tdp_mmu import kvm_tdp_mmu_get_root, kvm_tdp_mmu_put_root
from .vcpu_arch import Vcpu


def kvm_mmu_reload(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Make sure that there is a root. An obsolete one is left alone: its request is handled on guest entry only."""
    if vcpu.root is None:
        yield VCPU_LOAD
        if m.root_role_direct:
            kvm_mmu_load(m, vcpu)
        else:
            yield from kvm_mmu_load_shadow(m, vcpu)


def kvm_mmu_load(m: Machine, vcpu: Vcpu) -> None:
    """Load a root and flush this vCPU's own TLB, structure cache included: that is why zapping an invalid root needs
    no remote flush. mmu_lock free for what the MMU needs."""
    if m.tdp_mmu_enabled:
        m.read_lock()
        root = kvm_tdp_mmu_alloc_root(m, vcpu.guest_mode)
        m.read_unlock()
    else:
        m.write_lock()
        root = mmu_alloc_root(m)
        m.write_unlock()
    vcpu.root = root
    vcpu.flush()


def kvm_mmu_load_shadow(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """The same for an indirect MMU: the root shadows the table CR3 points to, and loading CR3 flushes, so unsync pages
    below it are synchronized. Without a table there, a dummy root: every access faults, and its guest walk fails."""
    m.srcu.lock(m.actor)
    m.write_lock()
    if gfn_to_hva_prot(m, vcpu.cr3) < 0:
        root = m.dummy_root
    else:
        root = yield from mmu_alloc_shadow_root(m, vcpu.cr3)
    m.write_unlock()
    yield from kvm_mmu_sync_roots(m, vcpu, root)
    # Only now is it loaded (kvm_mmu_load_pgd()): what the vCPU has cached of the root before is of no use any more.
    vcpu.root = root
    vcpu.flush()
    m.srcu.unlock(m.actor)


def kvm_tdp_mmu_alloc_root(m: Machine, guest_mode: bool) -> KvmMmuPage:
    """A valid root with this role, made if there is none. One reference for the vCPU, one for the TDP MMU, which
    drops its own when the root has been invalidated and zapped. mmu_lock held for read: the list of roots is walked."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] != 0)
    for root in m.tdp_mmu_roots:
        if not root.invalid and root.guest_mode == guest_mode and kvm_tdp_mmu_get_root(root):
            return root
    root = m.alloc_table(m.levels, 0, None)
    root.tdp_mmu_page = True
    root.ad_disabled = not m.masks.kvm_ad_enabled()
    root.guest_mode = guest_mode
    root.root_count = 2
    m.tdp_mmu_roots.append(root)
    return root


def kvm_mmu_free_obsolete_roots(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Handle KVM_REQ_MMU_FREE_OBSOLETE_ROOTS, which is up, before entering the guest."""
    root = vcpu.root
    if root is not None and (root is m.dummy_root or is_obsolete_sp(m, root)):
        yield from kvm_mmu_free_roots(m, vcpu)
    # The kernel clears the request first; here it stays up as long as the vCPU must not enter the guest.
    vcpu.free_obsolete_roots = False


def kvm_mmu_free_roots(m: Machine, vcpu: Vcpu) -> Generator[int, None, None]:
    """Drop the vCPU's reference to its root. Without a flush: what it has cached stays until kvm_mmu_load(), and it
    does not enter the guest before."""
    root = vcpu.root
    assert root is not None
    yield VCPU_UNLOAD
    vcpu.root = None
    if root.tdp_mmu_page:
        m.read_lock()
        mmu_free_tdp_root(m, root)
        m.read_unlock()
    elif m.root_role_direct:
        m.write_lock()
        yield from mmu_free_root_page(m, root)
        m.write_unlock()
    else:
        # SRCU, which a vCPU holds whenever it is out of the guest, keeps the slots that are accounted to.
        m.srcu.lock(m.actor)
        m.write_lock()
        yield from mmu_free_root_page(m, root)
        m.write_unlock()
        m.srcu.unlock(m.actor)


def mmu_free_tdp_root(m: Machine, root: KvmMmuPage) -> None:
    """mmu_free_root_page() of the TDP MMU. mmu_lock held for read: whoever walks the list of roots has it, too."""
    m.lockdep_assert(m.mmu_lock.held[m.actor] > 0)
    kvm_tdp_mmu_put_root(m, root)
