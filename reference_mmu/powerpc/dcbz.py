# SPDX-License-Identifier: GPL-2.0-only
"""Patching dcbz, which clears 32 bytes to the guest and 128 to the host, so that it traps (kvmppc_patch_dcbz() in
arch/powerpc/kvm/book3s_pr.c). Every page has some."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_page
from ..kvm.kvm import Kvm
from ..kvm.pfn import NO_PAGE
from ..kvm.vcpu_map import KvmHostMap, kvm_vcpu_map, kvm_vcpu_unmap, use_mapped_page
from ..observed import EV_MAP, MAP_REFUSED, MAP_UNPINNED
from .points import DCBZ_PATCH


def kvmppc_patch_dcbz(m: Kvm, gfn: i64) -> Generator[int, None, None]:
    """Rewrite the instructions of a page that the guest is about to execute; nothing if KVM cannot have the page."""
    m.srcu.lock(m.actor)
    host_map = KvmHostMap()
    if m.sem.ppc_dcbz_patch_via_vcpu_map:
        r = yield from kvm_vcpu_map(m, gfn, host_map)
        if r == 0:
            yield DCBZ_PATCH
            use_mapped_page(m, host_map, True)
            kvm_vcpu_unmap(m, host_map, True)
    else:
        page = yield from gfn_to_page(m, m.gfn_to_memslot(gfn), gfn, True)
        if page == NO_PAGE:
            m.record(EV_MAP, MAP_REFUSED)
        else:
            host_map.hva = page
            yield from patch_referenced(m, host_map)
    m.srcu.unlock(m.actor)


def patch_referenced(m: Kvm, host_map: KvmHostMap) -> Generator[int, None, None]:
    """The store by way of kmap_atomic(), to a page that is merely referenced. Nobody is told of it: the page is not
    marked dirty, nor the gfn logged."""
    page = host_map.hva
    if not m.sem.ppc_dcbz_drop_extra_get_page:
        m.host.get(page)
        m.page_taken(page, False)
    m.record(EV_MAP, MAP_UNPINNED)
    m.oracle.vcpu_mapped(m, page, False)
    yield DCBZ_PATCH
    use_mapped_page(m, host_map, True)
    m.oracle.vcpu_unmapped(m, page)
    m.kvm_put_page(page)
