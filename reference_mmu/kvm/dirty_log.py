# SPDX-License-Identifier: GPL-2.0-only
"""Dirty logging: enable, GET, CLEAR, disable (virt/kvm/kvm_main.c).

Why the order of a harvest is safe: bit taken, SPTE protected, (stale writable or D-cached entries still write),
flush, userspace copies.  What was written before the flush is in the page that userspace copies; what is written
after it faults, or is logged by PML, and sets the bit again.
"""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..bits import bit_ull
from ..observed import EV_HARVEST
from ..points import GET_COPY, GET_FLUSH, GET_LOCK, GET_WORD, SLOTS_LOCK, SLOTS_SRCU, SLOTS_SWAP, USER_COPY
from .flush import kvm_flush_remote_tlbs
from .kvm import Kvm
from .memslot_update import id_to_memslot, replace_slot
from .memslots import KvmMemorySlot


def enable_dirty_log(kvm: Kvm, number: i64) -> Generator[int, None, None]:
    """KVM_MEM_LOG_DIRTY_PAGES off -> on; then userspace copies the whole slot. Nothing if it logs already."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    old = id_to_memslot(kvm, number)
    if old is not None and can_log(old):
        slot = old.copy()
        slot.log_dirty_pages = True
        slot.dirty_bitmap = kvm.alloc_bitmap(slot)
        if kvm.manual_dirty_log_protect and kvm.dirty_log_initially_set:
            kvm.set_all_dirty(slot)
        yield from kvm_swap_flags(kvm, slot)
        yield from kvm.kvm_arch_commit_memory_region(old, slot)
        old.freed = True
        kvm.oracle.dirty_log_returned(kvm, slot)
        kvm.oracle.logging_enabled(kvm, slot)
        yield USER_COPY
    kvm.slots_lock = False


def can_log(slot: KvmMemorySlot) -> bool:
    """check_memory_region_flags(): neither what is read-only logs, nor what has a guest_memfd."""
    return not slot.log_dirty_pages and not slot.readonly and not slot.kvm_slot_can_be_private()


def kvm_swap_flags(kvm: Kvm, slot: KvmMemorySlot) -> Generator[int, None, None]:
    """Install the slot with its new flags and wait: no fault with the old flags survives."""
    yield SLOTS_SWAP
    replace_slot(kvm, slot.number, slot)
    kvm.synchronize_srcu()
    yield SLOTS_SRCU


def kvm_get_dirty_log_protect(kvm: Kvm, number: i64) -> Generator[int, None, None]:
    """KVM_GET_DIRTY_LOG; then userspace copies what was reported. With manual protection it only looks."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    slot = id_to_memslot(kvm, number)
    if slot is not None and slot.log_dirty_pages:
        kvm.oracle.harvest_begun(kvm)
        yield from kvm.kvm_arch_sync_dirty_log()
        if kvm.manual_dirty_log_protect:
            reported = yield from copy_bitmap(kvm, slot)
        else:
            reported = yield from take_dirty_bits(kvm, slot, all_words(kvm, slot))
        return_dirty_log(kvm, slot, reported)
        if not kvm.manual_dirty_log_protect:
            yield from user_copy(kvm, slot, reported)
        return
    kvm.slots_lock = False


def kvm_clear_dirty_log_protect(kvm: Kvm, number: i64, first: i64, npages: i64) -> Generator[int, None, None]:
    """KVM_CLEAR_DIRTY_LOG of the words that overlap [first, first + npages) of the slot, as read by a GET just
    before; then userspace copies what was really cleared. Manual protection only."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    slot = id_to_memslot(kvm, number)
    if slot is not None and slot.log_dirty_pages and kvm.manual_dirty_log_protect:
        words = range(first // kvm.word_gfns, (min(first + npages, slot.npages) + kvm.word_gfns - 1) // kvm.word_gfns)
        wanted = [(int(word * kvm.word_gfns), int(slot.dirty_bitmap[word])) for word in words]
        yield from kvm.kvm_arch_sync_dirty_log()
        cleared = yield from take_dirty_bits(kvm, slot, wanted)
        return_dirty_log(kvm, slot, cleared)
        yield from user_copy(kvm, slot, cleared)
        return
    kvm.slots_lock = False


def return_dirty_log(kvm: Kvm, slot: KvmMemorySlot, reported: list[tuple[int, int]]) -> None:
    """The ioctl is over: userspace knows of these bits, each (offset of the word, bits)."""
    for offset, mask in reported:
        kvm.record(EV_HARVEST, harvest_value(kvm, slot, offset, mask))
    kvm.oracle.dirty_log_returned(kvm, slot)
    kvm.slots_lock = False


def copy_bitmap(kvm: Kvm, slot: KvmMemorySlot) -> Generator[int, None, list[tuple[int, int]]]:
    """read_bitmap() as copy_to_user() does it: without a lock, so what comes out is the bitmap of no one moment."""
    kvm.oracle.bitmap_read(kvm, slot)
    words: list[tuple[int, int]] = []
    for word in range(len(slot.dirty_bitmap)):
        if word != 0:
            yield GET_COPY
        if slot.dirty_bitmap[word] != 0:
            words.append((int(word * kvm.word_gfns), int(slot.dirty_bitmap[word])))
    return words


def read_bitmap(kvm: Kvm, slot: KvmMemorySlot) -> list[tuple[int, int]]:
    """(offset of the word's first gfn in the slot, bits) of every non-zero word."""
    kvm.oracle.bitmap_read(kvm, slot)
    words = []
    for word in range(len(slot.dirty_bitmap)):
        if slot.dirty_bitmap[word] != 0:
            words.append((int(word * kvm.word_gfns), int(slot.dirty_bitmap[word])))
    return words


def all_words(kvm: Kvm, slot: KvmMemorySlot) -> list[tuple[int, int]]:
    return [(int(word * kvm.word_gfns), int(bit_ull(kvm.word_gfns) - 1)) for word in range(len(slot.dirty_bitmap))]


def harvest_value(kvm: Kvm, slot: KvmMemorySlot, offset: i64, mask: i64) -> i64:
    """An event value that tells words apart: bits, and which word of the slot."""
    return (offset // kvm.word_gfns) << 32 | mask


def take_dirty_bits(
    kvm: Kvm, slot: KvmMemorySlot, wanted: list[tuple[int, int]]
) -> Generator[int, None, list[tuple[int, int]]]:
    """Per word: take the wanted bits that are set, then protect their SPTEs. Flush iff any bit was taken; the SPTEs
    do not decide, they may have been protected earlier without a flush."""
    taken: list[tuple[int, int]] = []
    yield GET_LOCK
    kvm.write_lock()
    kvm.oracle.bitmap_read(kvm, slot)
    for offset, want in wanted:
        word: i64 = offset // kvm.word_gfns
        mask: i64 = slot.dirty_bitmap[word] & want
        if mask == 0:
            continue
        slot.dirty_bitmap[word] &= ~mask
        yield GET_WORD
        taken.append((offset, int(mask)))
        yield from kvm.kvm_arch_mmu_enable_log_dirty_pt_masked(slot, offset, mask)
    kvm.write_unlock()
    if taken:
        yield from kvm_flush_remote_tlbs(kvm, GET_FLUSH)
    return taken


def disable_dirty_log(kvm: Kvm, number: i64) -> Generator[int, None, None]:
    """KVM_MEM_LOG_DIRTY_PAGES on -> off: huge pages may come back, so drop the page tables in their way."""
    yield SLOTS_LOCK
    kvm.slots_lock = True
    old = id_to_memslot(kvm, number)
    if old is not None and old.log_dirty_pages:
        slot = old.copy()
        slot.log_dirty_pages = False
        yield from kvm_swap_flags(kvm, slot)
        kvm.oracle.logging_disabled(kvm, slot)
        yield from kvm.kvm_arch_commit_memory_region(old, slot)
        old.freed = True
        slot.dirty_bitmap = kvm.no_bitmap()
    kvm.slots_lock = False


def user_copy(kvm: Kvm, slot: KvmMemorySlot, reported: list[tuple[int, int]]) -> Generator[int, None, None]:
    """Userspace (a migration) copies the reported pages, some time after the ioctl returned."""
    for offset, mask in reported:
        yield USER_COPY
        kvm.oracle.pages_copied(kvm, slot, offset, mask)
