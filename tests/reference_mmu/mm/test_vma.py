# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of memory: each can be configured, and how the process finds a block of it."""

from typing import get_args

import pytest

from reference_mmu.config import Backing
from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W, PTE_HWPOISON, PTE_NONE, PTE_SWAP
from reference_mmu.mm.vma import KINDS, VM_PFNMAP, VM_READ, VM_SHARED, VM_WRITE
from tests.host_memory import Memory

PRIVATE = VM_READ | VM_WRITE
SHARED = PRIVATE | VM_SHARED
PFNMAP = SHARED | VM_PFNMAP

AREAS = {
    "anon": (PRIVATE, HOST_W | HOST_D, 1),
    "thp": (PRIVATE, HOST_W | HOST_D, 4),
    **dict.fromkeys(("cow", "ksm"), (PRIVATE, HOST_SHARED, 2)),
    **dict.fromkeys(("file", "fsdax"), (SHARED, HOST_W | HOST_D, 1)),
    **dict.fromkeys(("hugetlb", "devdax"), (SHARED, HOST_W | HOST_D, 4)),
    "shmem": (SHARED, HOST_W, 1),
    **dict.fromkeys(("pfnmap-nostruct", "pfnmap-unrefcounted"), (PFNMAP, HOST_W, 0)),
    **dict.fromkeys(("pfnmap-refcounted", "pfnmap-reserved"), (PFNMAP, HOST_W, 1)),
    "readonly": (VM_READ, 0, 1),
}
"""vm_flags, the flags of each host PTE, and the count of the folio."""

ABSENT = {
    "untouched": (PRIVATE, PTE_NONE),
    "swapped": (PRIVATE, PTE_SWAP),
    "hwpoison": (PRIVATE, PTE_HWPOISON),
}


def test_every_kind_can_be_configured() -> None:
    assert set(KINDS) == set(get_args(Backing)) == {*AREAS, *ABSENT}


@pytest.mark.parametrize("kind", AREAS)
def test_what_the_process_has_touched(kind: str) -> None:
    host = Memory(kind).m.host
    vm_flags, flags, count = AREAS[kind]
    assert host.vma_flags(0) == vm_flags
    assert [int(host.flags[hva]) for hva in range(4)] == [flags] * 4
    assert [int(host.folio(host.pte[hva]).refcount) for hva in range(4)] == [count] * 4
    assert host.vma_is_pfnmap(0) == kind.startswith("pfnmap")


@pytest.mark.parametrize("kind", ABSENT)
def test_what_it_has_not(kind: str) -> None:
    host = Memory(kind).m.host
    assert (host.vma_flags(0), *host.pte[:4]) == (ABSENT[kind][0], *[ABSENT[kind][1]] * 4)


@pytest.mark.parametrize(
    ("kind", "huge", "large"), [("thp", True, True), ("fsdax", True, False), ("anon", False, False)]
)
def test_a_huge_pte_and_a_large_folio_are_two_things(kind: str, huge: bool, large: bool) -> None:
    host = Memory(kind).m.host
    assert (host.mapping_level(0), host.span(1)) == ((2, (0, 4)) if huge else (1, (1, 2)))
    assert [page.large for page in host.pages_of(host.pte[1])] == ([True, False, False, False] if large else [False])
    assert host.pte[0] % 4 == 0


@pytest.mark.parametrize(
    ("kind", "struct", "reserved", "device"),
    [
        ("anon", True, False, False),
        ("hugetlb", True, False, False),
        ("fsdax", True, True, True),
        ("devdax", True, True, True),
        ("pfnmap-nostruct", False, False, False),
        ("pfnmap-refcounted", True, False, False),
        ("pfnmap-unrefcounted", True, False, False),
        ("pfnmap-reserved", True, True, False),
    ],
)
def test_what_struct_page_says(kind: str, struct: bool, reserved: bool, device: bool) -> None:
    for hva in range(4):
        host = Memory(kind).m.host
        page = host.pages[host.pte[hva]]
        assert (page.has_struct, page.reserved, page.zone_device) == (struct, reserved, device)
