# SPDX-License-Identifier: GPL-2.0-only
"""Sharing a page of a secure guest with the hypervisor (kvmppc_share_page() in arch/powerpc/kvm/book3s_hv_uvmem.c).

Left out: pages that are secure, so that no share has to be repeated, and the way out of them.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_page, gfn_to_pfn
from ..kvm.kvm import Kvm
from ..kvm.pfn import NO_PAGE, is_error_noslot_pfn
from ..kvm.release import kvm_release_page_clean, kvm_release_pfn_clean
from ..mm.errno import EINVAL
from ..observed import EV_ERRNO
from .points import UV_SHARE_LOCK


def kvmppc_share_page(m: Kvm, gfn: i64) -> Generator[int, None, None]:
    """H_SVM_PAGE_IN with H_PAGE_IN_SHARED; what the kernel calls H_PARAMETER is told as -EINVAL."""
    m.srcu.lock(m.actor)
    slot = m.gfn_to_memslot(gfn)
    if m.sem.ppc_uv_share_requires_struct_page:
        page = yield from gfn_to_page(m, slot, gfn, True)
        if page == NO_PAGE:
            m.record(EV_ERRNO, EINVAL)
        else:
            yield UV_SHARE_LOCK
            m.oracle.shared_with_uv(m, page)
            kvm_release_page_clean(m, page)
    else:
        pfn = yield from gfn_to_pfn(m, slot, gfn, True)
        if is_error_noslot_pfn(pfn):
            m.record(EV_ERRNO, EINVAL)
        else:
            yield UV_SHARE_LOCK
            m.oracle.shared_with_uv(m, pfn)
            kvm_release_pfn_clean(m, pfn)
    m.srcu.unlock(m.actor)
