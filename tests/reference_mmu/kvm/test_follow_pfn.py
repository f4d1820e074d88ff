# SPDX-License-Identifier: GPL-2.0-only
"""What a look-up gives for each kind of memory and each mishap, what it takes, and what it costs."""

from typing import NamedTuple

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics, parse_semantics
from reference_mmu.config import SlotConfig
from reference_mmu.kvm.follow_pfn import KvmFollowPfn, kvm_follow_pfn
from reference_mmu.mm.gup import FOLL_INTERRUPTIBLE, FOLL_NOWAIT, FOLL_WRITE, fault_in_user
from reference_mmu.mm.host import HOST_D, HOST_SHARED, HOST_W, PTE_BUSY, PTE_NONE, PTE_SWAP
from reference_mmu.mm.vma import KINDS
from reference_mmu.observed import COUNT_GUP
from reference_mmu.operations import MISHAP_KILLED, MISHAP_KILLED_NOWAIT, MISHAP_SIGNAL
from reference_mmu.points import GUP_FAULT, GUP_WAIT
from tests.by_hand import MM
from tests.host_memory import ERRORS, Found, Memory, look_up
from tests.parameters import BOTH

WRITABLE = Found("page", refs=1, writable=True)
READ_ONLY = Found("page", refs=1)
UNREFERENCED = Found("page", writable=True)
FAULT = Found("fault")
POISONED = Found("hwpoison")
READ_ONLY_SLOT = (SlotConfig(0, 8, 0, readonly=True),)


class Expected(NamedTuple):
    """What a read and a write find; `old` for a pfn that is mapped without GUP: what both found before the series."""

    read: Found
    write: Found
    old: Found | None = None


FOUND = {
    "anon": Expected(WRITABLE, WRITABLE),
    "thp": Expected(WRITABLE, WRITABLE),
    "file": Expected(WRITABLE, WRITABLE),
    "shmem": Expected(WRITABLE, WRITABLE),
    "cow": Expected(READ_ONLY, WRITABLE),
    "ksm": Expected(READ_ONLY, WRITABLE),
    "untouched": Expected(READ_ONLY, WRITABLE),
    "swapped": Expected(WRITABLE, WRITABLE),
    "hugetlb": Expected(WRITABLE, WRITABLE),
    "fsdax": Expected(WRITABLE, WRITABLE),
    "devdax": Expected(WRITABLE, WRITABLE),
    "pfnmap-nostruct": Expected(UNREFERENCED, UNREFERENCED),
    "pfnmap-refcounted": Expected(UNREFERENCED, UNREFERENCED, old=WRITABLE),
    "pfnmap-unrefcounted": Expected(UNREFERENCED, UNREFERENCED, old=FAULT),
    "pfnmap-reserved": Expected(UNREFERENCED, UNREFERENCED),
    "hwpoison": Expected(POISONED, POISONED),
    "readonly": Expected(READ_ONLY, FAULT),
}


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_found_and_taken(kind: str, write: bool) -> None:
    expected = FOUND[kind]
    new = expected.write if write else expected.read
    assert look_up(kind, NEW, write=write) == new
    assert look_up(kind, OLD, write=write) == (expected.old or new)


@pytest.mark.parametrize("kind", ["pfnmap-refcounted", "pfnmap-unrefcounted"])
def test_the_guess_about_remapped_pfns_ends_with_its_patch(kind: str) -> None:
    assert look_up(kind, parse_semantics("new-mixedmap-no-refcount")) == FOUND[kind].old


@BOTH
@pytest.mark.parametrize("kind", ["cow", "ksm", "untouched"])
def test_a_write_breaks_copy_on_write_and_the_others_keep_their_page(semantics: Semantics, kind: str) -> None:
    memory = Memory(kind, semantics)
    reader = memory.follow()
    memory.found(*reader)
    shared = memory.page()
    assert memory.found(*memory.follow(int(FOLL_WRITE))) == WRITABLE
    assert memory.page() is not shared
    assert (shared.refcount, shared.kvm_refs) == (2, 1)  # somebody else's, and that of the read
    assert (memory.page().refcount, memory.m.host.flags[0]) == (2, HOST_W | HOST_D)


# --- the slot --------------------------------------------------------------------------------------------------------


@BOTH
def test_a_read_only_slot_maps_nothing_writable(semantics: Semantics) -> None:
    for kind in ("anon", "pfnmap-nostruct"):
        assert look_up(kind, semantics, write=True, slots=READ_ONLY_SLOT) == Found("read-only")
        memory = Memory(kind, semantics, slots=READ_ONLY_SLOT)
        kfp, thread = memory.follow(garbage=True)
        assert memory.found(kfp, thread) == Found("page", refs=1 if kind == "anon" else 0)


@pytest.mark.parametrize("garbage", [False, True])
@pytest.mark.parametrize(("spec", "clears"), [("old", True), ("old+introduce-kvm-follow-pfn", False), ("new", False)])
@pytest.mark.parametrize("slot", ["none", "invalid", "read-only"])
def test_without_an_address_the_callers_variable_is_cleared_or_left(
    slot: str, spec: str, clears: bool, garbage: bool
) -> None:
    memory = Memory("anon", parse_semantics(spec), slots=READ_ONLY_SLOT)
    found = memory.slot.copy()
    found.invalid = slot == "invalid"
    kfp = KvmFollowPfn(None if slot == "none" else found, 0, FOLL_WRITE)
    kfp.map_writable = garbage
    pfn = memory.run(0, kvm_follow_pfn(memory.m, kfp)).result
    assert ERRORS[pfn] == ("read-only" if slot == "read-only" else "no slot")
    assert kfp.map_writable == (garbage and not clears)


@pytest.mark.parametrize("garbage", [False, True])
@pytest.mark.parametrize("kind", ["cow", "readonly", "untouched", "ksm"])
def test_a_page_that_may_only_be_read_is_not_always_reported_so(kind: str, garbage: bool) -> None:
    for spec, left in (("old", False), ("old+introduce-kvm-follow-pfn", True), ("new", False)):
        memory = Memory(kind, parse_semantics(spec))
        assert memory.found(*memory.follow(garbage=garbage)).writable == (left and garbage)
    # Between the two commits; the second of them says it always.
    memory = Memory(kind, parse_semantics("old+follow-pfn-refcounted-page-output"))
    assert not memory.found(*memory.follow(garbage=garbage)).writable


# --- mishaps ---------------------------------------------------------------------------------------------------------

NEEDS_IO = Found("needs io")
SIGNAL = Found("signal")


class Mishap(NamedTuple):
    """A look-up around which something goes wrong. `asynchronous`: OLD's fault says beside it that it is for I/O."""

    kind: str
    foll: int
    mishaps: int
    old: Found
    new: Found
    asynchronous: bool = False


NOWAIT = int(FOLL_NOWAIT)
WRITE = int(FOLL_WRITE)
INTERRUPTIBLE = int(FOLL_INTERRUPTIBLE)
KILLED = int(MISHAP_KILLED)
KILLED_ONCE = int(MISHAP_KILLED_NOWAIT)
PENDING = int(MISHAP_SIGNAL)

MISHAPS = {
    "I/O refused": Mishap("swapped", NOWAIT, 0, FAULT, NEEDS_IO, asynchronous=True),
    "I/O refused to a write": Mishap("swapped", NOWAIT | WRITE, 0, FAULT, NEEDS_IO, asynchronous=True),
    "no I/O needed": Mishap("untouched", NOWAIT, 0, READ_ONLY, READ_ONLY),
    "a write forbidden": Mishap("readonly", NOWAIT | WRITE, 0, FAULT, FAULT),
    "poison without a wait": Mishap("hwpoison", NOWAIT, 0, POISONED, POISONED),
    "a signal ends I/O": Mishap("swapped", INTERRUPTIBLE, PENDING, SIGNAL, SIGNAL),
    "a signal to who does not ask": Mishap("swapped", 0, PENDING, WRITABLE, WRITABLE),
    "a signal where nobody waits": Mishap("cow", INTERRUPTIBLE, PENDING, READ_ONLY, READ_ONLY),
    "a signal is no reason to wait": Mishap("swapped", NOWAIT, PENDING, FAULT, NEEDS_IO, asynchronous=True),
    "killed": Mishap("cow", 0, KILLED, FAULT, SIGNAL),
    "killed, a write": Mishap("swapped", WRITE, KILLED, FAULT, SIGNAL),
    "killed, a write forbidden": Mishap("readonly", WRITE, KILLED, FAULT, SIGNAL),
    "killed, poison unseen": Mishap("hwpoison", 0, KILLED, FAULT, SIGNAL),
    "killed, fast GUP is enough": Mishap("anon", 0, KILLED, WRITABLE, WRITABLE),
    "killed, mapped by pfn": Mishap("pfnmap-nostruct", 0, KILLED, UNREFERENCED, SIGNAL),
    "killed, not waiting": Mishap("swapped", NOWAIT, KILLED, FAULT, SIGNAL, asynchronous=True),
    "killed once, not waiting": Mishap("swapped", NOWAIT, KILLED_ONCE, FAULT, SIGNAL, asynchronous=True),
    "killed once, then waiting": Mishap("swapped", 0, KILLED_ONCE, SIGNAL, SIGNAL),
    "killed once, a write forbidden": Mishap("readonly", WRITE, KILLED_ONCE, FAULT, FAULT),
    "killed once, mapped by pfn": Mishap("pfnmap-nostruct", 0, KILLED_ONCE, UNREFERENCED, UNREFERENCED),
}


@pytest.mark.parametrize("name", MISHAPS)
def test_what_a_mishap_comes_to(name: str) -> None:
    row = MISHAPS[name]
    for semantics, expected in ((OLD, row.old), (NEW, row.new)):
        memory = Memory(row.kind, semantics)
        kfp, thread = memory.follow(row.foll, mishaps=row.mishaps)
        before = int(memory.m.host.pte[0])
        assert memory.found(kfp, thread) == expected
        assert kfp.async_io == (row.asynchronous and semantics is OLD)
        if expected.what != "page":
            assert memory.m.host.pte[0] == before


@pytest.mark.parametrize(
    ("spec", "what"),
    [("old", "fault"), ("old+gup-eagain-is-sigpending", "signal"), ("new-gup-eagain-is-sigpending", "fault")],
)
def test_one_patch_makes_eagain_a_signal(spec: str, what: str) -> None:
    memory = Memory("swapped", parse_semantics(spec))
    assert memory.found(*memory.follow(mishaps=KILLED)).what == what


@BOTH
def test_a_locked_page_is_waited_for_unless_the_caller_will_not(semantics: Semantics) -> None:
    memory = Memory("anon", semantics)
    pfn = memory.m.host.clear_pte(0, PTE_BUSY)
    kfp, thread = memory.follow(NOWAIT)
    assert memory.found(kfp, thread).what == ("fault" if semantics is OLD else "needs io")
    kfp, thread = memory.follow()
    thread.to(GUP_WAIT)
    assert not thread.can_run()
    memory.m.host.set_pte(0, pfn, HOST_W)
    assert memory.found(kfp, thread) == WRITABLE


# --- what it costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "foll", "old", "new"),
    [
        ("anon", 0, 1, 1),
        ("cow", 0, 3, 3),  # a writable page is asked for before and after
        ("cow", WRITE, 2, 2),
        ("hwpoison", 0, 2, 2),
        ("readonly", WRITE, 3, 2),
        ("readonly", WRITE | NOWAIT, 2, 2),
        ("pfnmap-nostruct", 0, 3, 2),
        ("pfnmap-nostruct", NOWAIT, 2, 2),
    ],
)
def test_the_extra_gup_is_that_of_a_failure_which_may_wait(kind: str, foll: int, old: int, new: int) -> None:
    for semantics, calls in ((OLD, old), (parse_semantics("old+gup-drop-extra-hwpoison-gup"), new), (NEW, new)):
        memory = Memory(kind, semantics)
        kfp, thread = memory.follow(foll)
        memory.found(kfp, thread)
        assert thread.count(COUNT_GUP) == calls


@BOTH
def test_who_cannot_use_a_writable_page_does_not_ask_for_one(semantics: Semantics) -> None:
    memory = Memory("anon", semantics)
    kfp, thread = memory.follow(offers=False)
    assert memory.found(kfp, thread) == READ_ONLY
    assert (thread.count(COUNT_GUP), thread.points) == (1, [GUP_FAULT])


@BOTH
def test_an_upgrade_that_fails_leaves_the_page_that_was_read(semantics: Semantics) -> None:
    memory = Memory("anon", semantics)
    kfp, thread = memory.follow()
    kfp.upgrade_fails = True
    assert memory.found(kfp, thread) == READ_ONLY


@BOTH
def test_a_page_that_becomes_writable_meanwhile_is_exchanged_for_the_first(semantics: Semantics) -> None:
    memory = Memory("cow", semantics)
    kfp, thread = memory.follow()
    thread.to(GUP_FAULT)
    shared = memory.page()
    memory.run(MM, fault_in_user(memory.m, 0, True))
    assert memory.found(kfp, thread) == WRITABLE
    assert (shared.kvm_refs, memory.page().refcount) == (0, 2)


# --- memory that is mapped by pfn ------------------------------------------------------------------------------------


@BOTH
def test_the_owner_puts_a_missing_pfn_in_and_the_vma_is_looked_up_again(semantics: Semantics) -> None:
    memory = Memory("pfnmap-nostruct", semantics)
    memory.m.host.clear_pte(0, PTE_NONE)
    kfp, thread = memory.follow(NOWAIT)
    assert memory.found(kfp, thread) == UNREFERENCED
    assert thread.points == [GUP_FAULT, GUP_FAULT]


@BOTH
def test_a_pfn_that_the_host_maps_read_only(semantics: Semantics) -> None:
    for foll, expected in ((0, Found("page")), (WRITE, Found("read-only"))):
        memory = Memory("pfnmap-nostruct", semantics)
        memory.m.host.flags[0] = 0
        assert memory.found(*memory.follow(foll, garbage=True)) == expected


@BOTH
@pytest.mark.parametrize("mishaps", [0, KILLED_ONCE])
def test_nothing_is_put_in_where_the_vma_forbids_it_or_the_task_dies(semantics: Semantics, mishaps: int) -> None:
    memory = Memory("pfnmap-nostruct", semantics)
    memory.m.host.clear_pte(0, PTE_NONE)
    if not mishaps:
        memory.m.host.vm_flags[0] &= ~2  # VM_WRITE
    assert memory.found(*memory.follow(WRITE, mishaps=mishaps)) == FAULT
    assert memory.m.host.pte[0] == PTE_NONE


@BOTH
@pytest.mark.parametrize("foll", [0, NOWAIT])
def test_where_there_is_no_vma(semantics: Semantics, foll: int) -> None:
    memory = Memory("untouched", semantics)
    memory.m.host.vm_flags[0] = 0
    kfp, thread = memory.follow(foll)
    assert memory.found(kfp, thread) == FAULT
    assert not kfp.async_io


# --- pins ------------------------------------------------------------------------------------------------------------

PINNED = Found("page", pins=1)
UNPINNED = Found("page")
UNPINNABLE = [kind for kind in KINDS if kind.startswith("pfnmap")]
PINS = {
    **dict.fromkeys(KINDS, (PINNED, PINNED)),
    **dict.fromkeys(UNPINNABLE, (FAULT, FAULT)),
    "untouched": (UNPINNED, PINNED),  # nobody counts pins of the zero page
    "hwpoison": (POISONED, POISONED),
    "readonly": (PINNED, FAULT),
}
"""What a read and a write find."""


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pinned(kind: str, write: bool) -> None:
    assert look_up(kind, NEW, write=write, pin=True) == PINS[kind][write]


@pytest.mark.parametrize("kind", UNPINNABLE)
def test_what_cannot_be_pinned_is_refused_unless_that_is_allowed(kind: str) -> None:
    assert look_up(kind, parse_semantics("old+vcpu-map-foll-pin"), pin=True) == UNPINNED
    assert look_up(kind, parse_semantics("old+disallow-unpinned-map-by-default"), pin=True) == FAULT
    assert look_up(kind, NEW, pin=True, unsafe_mappings=True) == UNPINNED


def test_a_refusal_comes_before_the_owner_is_asked_for_the_pfn() -> None:
    memory = Memory("pfnmap-nostruct", NEW)
    memory.m.host.clear_pte(0, PTE_NONE)
    assert memory.found(*memory.follow(pin=True)) == FAULT
    assert memory.m.host.pte[0] == PTE_NONE


@pytest.mark.parametrize(("kind", "refcount", "pincount"), [("anon", 1 + 1024, 0), ("thp", 4 + 1, 1)])
def test_a_pin_is_counted_by_the_size_of_the_folio(kind: str, refcount: int, pincount: int) -> None:
    memory = Memory(kind, NEW)
    memory.found(*memory.follow(pin=True))
    assert (memory.page().refcount, memory.page().pincount) == (refcount, pincount)
    assert memory.m.host.maybe_dma_pinned(memory.m.host.pte[0])


@pytest.mark.parametrize("kind", ["cow", "ksm"])
def test_a_pin_for_reading_gets_a_page_of_its_own_mapped_read_only(kind: str) -> None:
    memory = Memory(kind, NEW)
    shared = memory.page()
    memory.found(*memory.follow(pin=True))
    assert memory.page() is not shared
    assert memory.m.host.flags[0] & (HOST_W | HOST_SHARED) == 0


def test_a_pin_for_writing_waits_at_once_whatever_the_caller_said() -> None:
    memory = Memory("swapped", NEW)
    kfp, thread = memory.follow(WRITE | NOWAIT, pin=True)
    assert memory.found(kfp, thread) == PINNED
    memory = Memory("swapped", NEW)
    assert memory.found(*memory.follow(NOWAIT, pin=True)) == NEEDS_IO
    assert memory.m.host.pte[0] == PTE_SWAP


def test_a_pin_is_not_for_mapping() -> None:
    memory = Memory("cow", NEW)
    kfp, thread = memory.follow(pin=True)
    kfp.offers = True
    thread.to(GUP_FAULT)
    memory.run(MM, fault_in_user(memory.m, 0, True))  # now there would be a writable page to be had
    assert memory.found(kfp, thread) == PINNED
    assert thread.warnings == 1
