# SPDX-License-Identifier: GPL-2.0-only
"""The closed list of what must never happen in one model, whatever the other does."""

from typing import Final

INVARIANTS: Final[dict[str, str]] = {
    "stale-translation": "mmu_lock was released while a TLB entry still translates what its holder zapped or moved",
    "stale-writable-mmuw": "mmu_lock was released while a writable TLB entry exists for an SPTE that lost MMU_WRITABLE",
    "freed-table-reference": "a page table was freed, or left to be freed, while a vCPU's structure cache points to it",
    "early-free": "a page table was freed while a lockless walker that began before it was unlinked may be in it",
    "freed-table-walk": "a freed page table was walked",
    "mapped-during-invalidation": "an SPTE or TLB entry maps a page between invalidate_range_start and end",
    "mapped-freed-page": "a page was freed while an SPTE or a TLB entry maps it",
    "freed-page-access": "the guest accessed a page that had been freed",
    "stale-read": "the guest read something else than what was last written",
    "lost-write": "memory differs from what the guest wrote",
    "writable-after-dirty-log": "a dirty-log ioctl returned while the guest can write a clean page unseen",
    "late-dirty-report": "KVM_GET_DIRTY_LOG missed a page that a PML buffer held when it began",
    "lost-dirty-page": "a page written while logging was never reported: the copy differs from memory",
    "writable-after-tracking": "write tracking was added while a vCPU can still write the page",
    "untracked-write": "the guest wrote a write-tracked page and KVM did not see it",
    "obsolete-root": "mmu_lock was released while a vCPU is on an obsolete root, and not asked or not made to leave it",
    "writable-guest-table": "mmu_lock was released while a vCPU can write a shadowed guest table that is not unsync",
    "shadow-page-differs": "mmu_lock was released while an SPTE that is not unsync allows more than the guest's entry",
    "stale-after-guest-flush": "the guest flushed, and its vCPU can still use what the guest had forbidden before",
    "slot-still-mapped": "a memslot was zapped and a loadable root or a usable TLB entry still maps it",
    "late-page-mark": "KVM marked a struct page after mmu_lock was released, when it may have been cleaned or freed",
    "refcount-leak": "a page reference of KVM was never dropped",
    "refcount-underflow": "KVM dropped a page reference it did not hold",
    "illegal-spte": "an SPTE has a value no flow may leave behind",
    "unlocked-store": "an SPTE was stored without RCU, or without mmu_lock (for write in the shadow MMU)",
    "table-leak": "a page table was freed that still maps something, or is never freed",
    "invalidation-imbalance": "the program has ended and an invalidation is still counted as in progress",
    "no-progress": "nobody can run, or one actor runs for ever without changing anything",
    "lockdep": "a lock that the modelled code needs is not held, or one is held where the code may sleep",
    "warn": "a WARN of the modelled code fired that no patch announces",
    "bug": "a BUG_ON of the modelled code fired",
    "model-bug": "a flow broke a rule of the model (lock taken twice, section left twice)",
}
