# SPDX-License-Identifier: GPL-2.0-only
"""Counts of pages and folios, and what a VMA permits."""

import pytest

from reference_mmu.mm.host import HOST_D, HOST_W, PTE_BUSY, PTE_NONE, Host
from reference_mmu.mm.page import GUP_PIN_COUNTING_BIAS


def host_of(kind: str) -> Host:
    return Host((kind, "anon"), 2)


@pytest.mark.parametrize(
    ("vm_flags", "read", "write"), [(0, False, False), (1, True, False), (2, False, False), (3, True, True)]
)
def test_a_vma_permits_what_its_flags_say(vm_flags: int, read: bool, write: bool) -> None:
    host = host_of("anon")
    host.vm_flags[0] = vm_flags
    assert (host.vma_is_valid(3, False), host.vma_is_valid(3, True)) == (read, write)
    assert host.vma_is_valid(4, True)  # of the block after it


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_a_reference_keeps_a_folio_and_the_last_one_frees_all_of_it(kind: str) -> None:
    host = host_of(kind)
    pfn = int(host.pte[1])
    count = int(host.folio(pfn).refcount)
    host.get(pfn)
    assert (host.folio(pfn).refcount, host.folio(pfn).kvm_refs) == (count + 1, 1)
    for _ in range(count):
        host.put(pfn)
    assert not host.pages[pfn].freed
    host.put(pfn)
    assert all(page.freed for page in host.pages_of(pfn))


@pytest.mark.parametrize(("kind", "refcount", "pincount"), [("anon", GUP_PIN_COUNTING_BIAS, 0), ("thp", 1, 1)])
def test_a_pin_is_a_reference_and_more(kind: str, refcount: int, pincount: int) -> None:
    host = host_of(kind)
    pfn = int(host.pte[1])
    before = int(host.folio(pfn).refcount)
    assert not host.maybe_dma_pinned(pfn)
    host.pin(pfn)
    folio = host.folio(pfn)
    assert (folio.refcount - before, folio.pincount, folio.kvm_pins) == (refcount, pincount, 1)
    assert host.maybe_dma_pinned(pfn)
    host.unpin(pfn)
    assert (folio.refcount, folio.pincount, folio.kvm_pins) == (before, 0, 0)


def test_a_pin_can_be_the_last_reference() -> None:
    host = host_of("anon")
    pfn = int(host.pte[0])
    host.pin(pfn)
    host.put(pfn)
    assert not host.pages[pfn].freed
    host.unpin(pfn)
    assert host.pages[pfn].freed


def test_the_zero_page_is_referenced_but_not_pinned_and_never_freed() -> None:
    host = host_of("untouched")
    pfn = host.alloc_zero_page(0)
    page = host.pages[pfn]
    host.pin(pfn)
    assert (page.refcount, page.kvm_pins) == (2, 0)
    host.unpin(pfn)
    host.get(pfn)
    assert page.refcount == 3
    for _ in range(2):
        host.put(pfn)
    assert (page.refcount, page.freed) == (1, False)


def test_many_references_look_like_a_pin() -> None:
    host = host_of("anon")
    for _ in range(GUP_PIN_COUNTING_BIAS - 1):
        host.get(host.pte[0])
    assert host.maybe_dma_pinned(host.pte[0])


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_whether_nobody_but_the_process_holds_it(kind: str) -> None:
    host = host_of(kind)
    pfn = int(host.pte[1])
    assert host.only_mapped(pfn)
    host.get(pfn)
    assert not host.only_mapped(pfn)


def test_a_folio_is_split_unless_somebody_else_holds_it() -> None:
    host = host_of("thp")
    pfn = int(host.pte[2])
    folio = host.folio(pfn)
    folio.dirty = True
    host.get(pfn)
    assert not host.split_folio(pfn)
    folio.refcount -= 1
    folio.kvm_refs -= 1
    assert host.split_folio(pfn)
    for hva in range(4):
        page = host.folio(host.pte[hva])
        assert (page.head, page.refcount, page.dirty, page.large) == (host.pte[hva], 1, True, False)
    assert host.split_folio(pfn)  # nothing to do


def test_a_page_of_a_split_folio_that_nobody_maps_is_free() -> None:
    host = host_of("thp")
    pfn = int(host.clear_pte(1, PTE_NONE))
    host.folio(pfn).refcount = 3
    assert host.split_folio(pfn)
    assert host.pages[pfn].freed
    assert not host.pages[host.pte[0]].freed


@pytest.mark.parametrize("kind", ["anon", "thp"])
def test_a_dirty_pte_makes_the_folio_dirty_when_it_goes(kind: str) -> None:
    host = host_of(kind)
    host.flags[1] = HOST_W
    pfn = host.clear_pte(1, PTE_NONE)
    assert not host.folio(pfn).dirty
    host.flags[0] = HOST_W | HOST_D
    pfn = host.clear_pte(0, PTE_BUSY)
    assert (host.folio(pfn).dirty, host.swap_cache[0], host.flags[0]) == (True, pfn, 0)
