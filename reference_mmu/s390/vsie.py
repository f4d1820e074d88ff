# SPDX-License-Identifier: GPL-2.0-only
"""vSIE: the guest runs a guest of its own (arch/s390/kvm/vsie.c).

Its control block, and the blocks that this one points to, are pages of the guest that KVM and the CPU use by their
host address.  "Pinned" is vsie.c's word: what is taken is a plain reference, so a page stays allocated, and the process
may still get another one in its place.  Of the blocks one stands for all: that for transaction diagnostics, which the
CPU writes.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..kvm.faultin import gfn_to_page
from ..kvm.kvm import Kvm
from ..kvm.pfn import NO_PAGE
from ..kvm.release import kvm_release_page_dirty, kvm_release_pfn_dirty
from ..kvm.vcpu_map import KvmHostMap, use_mapped_page
from ..mm.errno import EINVAL
from ..observed import EV_MAP, MAP_REFUSED, MAP_UNPINNED
from .points import VSIE_PIN, VSIE_RUN, VSIE_SHADOW, VSIE_UNPIN


def kvm_s390_handle_vsie(m: Kvm, scb: i64, itdb: i64) -> Generator[int, None, None]:
    """The guest executes SIE for the control block in gfn `scb`, which points to a block in gfn `itdb`. SRCU is held
    from exit to entry."""
    m.srcu.lock(m.actor)
    yield VSIE_PIN
    hpa = yield from pin_guest_page(m, scb)
    if hpa >= 0:  # else the guest gets an addressing exception
        yield VSIE_SHADOW
        use(m, hpa, False)
        yield from run_with_blocks(m, hpa, itdb)
        unpin_guest_page(m, scb, hpa)
    m.srcu.unlock(m.actor)


def run_with_blocks(m: Kvm, scb_hpa: i64, itdb: i64) -> Generator[int, None, None]:
    """pin_blocks() to unpin_blocks(). What cannot be pinned is a validity interception of the guest's guest. In any
    case the guest is told in its control block (unshadow_scb())."""
    hpa = yield from pin_guest_page(m, itdb)
    if hpa >= 0:
        yield VSIE_RUN
        use(m, hpa, True)
        yield VSIE_UNPIN
    use(m, scb_hpa, True)
    if hpa >= 0:
        unpin_guest_page(m, itdb, hpa)


def pin_guest_page(m: Kvm, gfn: i64) -> Generator[int, None, i64]:
    """pin_guest_page(): the pfn of a page that may be written, with a reference, or -EINVAL."""
    page = yield from gfn_to_page(m, m.gfn_to_memslot(gfn), gfn, True)
    if page == NO_PAGE:
        m.record(EV_MAP, MAP_REFUSED)
        return -EINVAL
    m.record(EV_MAP, MAP_UNPINNED)
    m.oracle.vcpu_mapped(m, page, False)
    return page


def unpin_guest_page(m: Kvm, gfn: i64, hpa: i64) -> None:
    """unpin_guest_page(): `hpa` is what pin_guest_page() has returned; it counts as written, whatever was done."""
    if m.sem.s390_unpin_via_page:
        m.count_page_lookup()  # pfn_to_page(), without a guess
        kvm_release_page_dirty(m, hpa)
    else:
        kvm_release_pfn_dirty(m, hpa)
    m.oracle.vcpu_unmapped(m, hpa)
    slot = m.gfn_to_memslot(gfn)
    if slot is not None:
        m.mark_page_dirty_in_slot(slot, gfn)


def use(m: Kvm, hpa: i64, write: bool) -> None:
    """KVM or the CPU reads or writes a pinned page by its host address."""
    host_map = KvmHostMap()
    host_map.hva = hpa
    use_mapped_page(m, host_map, write)
