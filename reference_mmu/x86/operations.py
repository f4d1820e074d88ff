# SPDX-License-Identifier: GPL-2.0-only
"""Operations by number, and which flow of the model each of them is.

The numbers are an affair of the process that runs them: what is stored and shown names operations.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

from ..kvm.memslot_update import kvm_create_memslot, kvm_delete_memslot, kvm_move_memslot
from ..mm.primary import (
    change_protection_numa,
    collapse_huge_page,
    discard,
    migrate_page,
    share_page,
    shrink_folio,
    writeback,
)
from .aging import kvm_mmu_notifier_clear_flush_young, kvm_mmu_notifier_clear_young, kvm_mmu_notifier_test_young
from .dirty_log import disable_dirty_log, enable_dirty_log, kvm_clear_dirty_log_protect, kvm_get_dirty_log_protect
from .shadow_mmu.gpte import make_gpte
from .vcpu import async_page_ready, invlpg, load_cr3, nested_transition, vcpu_access, vcpu_write_gpte
from .write_protect import kvm_write_track_add_gfn, kvm_write_track_remove_gfn
from .zap_range import kvm_zap_gfn_range

if TYPE_CHECKING:
    from .machine import Machine
    from .tlb import Vcpu

READ: Final = 0
WRITE: Final = 1
PREFETCH: Final = 2
NESTED: Final = 3
WRITE_PTE: Final = 4
INVLPG: Final = 5
LOAD_CR3: Final = 6
CLEAR_FLUSH_YOUNG: Final = 7
CLEAR_YOUNG: Final = 8
TEST_YOUNG: Final = 9
NUMA_HINT: Final = 10
MIGRATE: Final = 11
RECLAIM: Final = 12
WRITEBACK: Final = 13
SHARE: Final = 14
DISCARD: Final = 15
COLLAPSE_HUGE: Final = 16
ENABLE_LOG: Final = 17
GET_LOG: Final = 18
CLEAR_LOG: Final = 19
DISABLE_LOG: Final = 20
DELETE_SLOT: Final = 21
CREATE_SLOT: Final = 22
MOVE_SLOT: Final = 23
TRACK: Final = 24
UNTRACK: Final = 25
ZAP_RANGE: Final = 26


# The entry that WRITE_PTE stores, as its argument: the frame it points to, counted from 1, and its rights. 0 for the
# frame: not present, whatever the rights.
STORED_WRITABLE: Final[i64] = 1
STORED_EXECUTABLE: Final[i64] = 2
STORED_ACCESSED: Final[i64] = 4
STORED_DIRTY: Final[i64] = 8
STORED_SHIFT: Final[i64] = 4


@mypyc_attr(acyclic=True)
class Call:
    """One operation: what kind it is, up to three arguments (of WRITE_PTE the third is an entry, STORED_*), and the
    regions at which need_resched() is true while it walks page tables. `uid` names it for ever."""

    def __init__(self, uid: i64, kind: i64, a: i64 = 0, b: i64 = 0, c: i64 = 0, resched: i64 = 0) -> None:
        self.uid = uid
        self.kind = kind
        self.a = a
        self.b = b
        self.c = c
        self.resched = resched


def start_operation(m: Machine, actor: i64, call: Call) -> Generator[int, None, object]:
    """Make the flow of an operation, to be run by `actor`. vCPU actors come first, so an actor's number is its
    vCPU's."""
    kind, a, b, c = call.kind, call.a, call.b, call.c
    if kind <= LOAD_CR3:
        return _start_vcpu_operation(m, m.vcpus[actor], call)
    if kind <= COLLAPSE_HUGE:
        return _start_mm_operation(m, kind, a, b)
    if kind == ENABLE_LOG:
        return enable_dirty_log(m, a)
    if kind == GET_LOG:
        return kvm_get_dirty_log_protect(m, a)
    if kind == CLEAR_LOG:
        return kvm_clear_dirty_log_protect(m, a, b, c)
    if kind == DISABLE_LOG:
        return disable_dirty_log(m, a)
    if kind == DELETE_SLOT:
        return kvm_delete_memslot(m, a)
    if kind == CREATE_SLOT:
        return kvm_create_memslot(m, a)
    if kind == MOVE_SLOT:
        return kvm_move_memslot(m, a, b)
    if kind == TRACK:
        return kvm_write_track_add_gfn(m, a)
    if kind == UNTRACK:
        return kvm_write_track_remove_gfn(m, a)
    return kvm_zap_gfn_range(m, a, a + b)


def _start_vcpu_operation(m: Machine, vcpu: Vcpu, call: Call) -> Generator[int, None, object]:
    kind, a, b, c = call.kind, call.a, call.b, call.c
    if kind == READ:
        return vcpu_access(m, vcpu, a, False, b != 0)
    if kind == WRITE:
        return vcpu_access(m, vcpu, a, True, False)
    if kind == PREFETCH:
        return async_page_ready(m, vcpu, a, c != 0, b != 0)
    if kind == NESTED:
        return nested_transition(m, vcpu)
    if kind == WRITE_PTE:
        return vcpu_write_gpte(m, vcpu, a, b, gpte_stored(c))
    if kind == INVLPG:
        return invlpg(m, vcpu, a)
    return load_cr3(m, vcpu, a)


def _start_mm_operation(m: Machine, kind: i64, hva: i64, npages: i64) -> Generator[int, None, object]:
    if kind == CLEAR_FLUSH_YOUNG:
        return kvm_mmu_notifier_clear_flush_young(m, hva, hva + npages)
    if kind == CLEAR_YOUNG:
        return kvm_mmu_notifier_clear_young(m, hva, hva + npages)
    if kind == TEST_YOUNG:
        return kvm_mmu_notifier_test_young(m, hva)
    if kind == NUMA_HINT:
        return change_protection_numa(m, hva, hva + npages)
    if kind == MIGRATE:
        return migrate_page(m, hva)
    if kind == RECLAIM:
        return shrink_folio(m, hva)
    if kind == WRITEBACK:
        return writeback(m, hva)
    if kind == SHARE:
        return share_page(m, hva)
    if kind == DISCARD:
        return discard(m, hva, hva + npages)
    return collapse_huge_page(m, hva)


def gpte_stored(stored: i64) -> i64:
    """The entry of the guest's page table that the argument stands for."""
    gfn = (stored >> STORED_SHIFT) - 1
    if gfn < 0:
        return 0
    return make_gpte(
        gfn,
        stored & STORED_WRITABLE != 0,
        stored & STORED_EXECUTABLE != 0,
        stored & STORED_ACCESSED != 0,
        stored & STORED_DIRTY != 0,
    )
