# SPDX-License-Identifier: GPL-2.0-only
"""Patching dcbz, which clears 32 bytes to the guest and 128 to the host, so that it traps (kvmppc_patch_dcbz() in
arch/powerpc/kvm/book3s_pr.c). Every page has some."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_page
from ..kvm.kvm import Kvm
from ..kvm.pfn import NO_PAGE
from .points import DCBZ_PATCH


def kvmppc_patch_dcbz(m: Kvm, gfn: i64) -> Generator[int, None, None]:
    """Rewrite the instructions of a page that the guest is about to execute. Nobody is told of the store: the page is
    not marked dirty, nor the gfn logged."""
    m.srcu.lock(m.actor)
    page = yield from gfn_to_page(m, m.gfn_to_memslot(gfn), gfn, True)
    if page != NO_PAGE:
        if not m.sem.ppc_dcbz_drop_extra_get_page:
            m.host.get(page)
            m.page_taken(page, False)
        yield DCBZ_PATCH
        patch(m, page)
        m.kvm_put_page(page)
    m.srcu.unlock(m.actor)


def patch(m: Kvm, page: i64) -> None:
    """The store, by way of the kernel's own mapping. If the process has another page there by now, it is lost with the
    old one, and the other is patched when the guest executes that."""
    hva = m.host.pages[page].hva
    m.host.pages[page].data = m.uid + 1
    if m.host.pte[hva] == page or m.host.swap_cache[hva] == page:
        m.host.reference[hva] = m.uid + 1
