# SPDX-License-Identifier: GPL-2.0-only
"""Ten bugs that every arm of the bench has to find.

One of them is kernel bug 219588, which OLD has as it is shipped. The others are mutants of tests/quality, from one that
every third program shows to one that takes thousands of programs. They are planted where a function says what is
replaced, not at a line, so that the model may be rewritten around them.
"""

from typing import Final, Literal

from reference_mmu.record import Record


class Bug(Record):
    """`function` of the model has `new` where the shipped one has `old`, a statement or an expression that stands there
    once; all three are empty for a bug that `side` has anyway. `origin`: the mutant that it is, or where it comes from.

    It counts as found by the first run in which `side` breaks an invariant that the other side keeps. Without a bug NEW
    does so in one of 40 000 programs (a hole that OLD has, too, but not in the same run); that is left in, for all.
    """

    name: str
    about: str
    origin: str
    function: str = ""
    old: str = ""
    new: str = ""
    side: Literal["old", "new"] = "new"


BUGS: Final = (
    Bug(
        "read-fault-takes-mmu-writable",
        "a read fault takes MMU_WRITABLE away under a writable TLB entry, without a flush",
        "kernel bug 219588",
        side="old",
    ),
    Bug(
        "notifier-without-flush",
        "invalidate_range_start() returns without the flush",
        "kvm/mmu_notifier.py:kvm_mmu_notifier_invalidate_range_start:flush-call:1",
        "kvm_mmu_notifier_invalidate_range_start",
        "yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)",
        "pass",
    ),
    Bug(
        "fault-without-retry",
        "a fault of the TDP MMU does not ask whether an invalidation came in between",
        "x86/fault.py:kvm_tdp_mmu_page_fault:stale-check:1",
        "kvm_tdp_mmu_page_fault",
        "is_page_fault_stale(m, vcpu, fault)",
        "False",
    ),
    Bug(
        "snapshot-at-the-check",
        "mmu_invalidate_seq is compared with itself and not with what it was before the page was looked up",
        "x86/fault.py:is_page_fault_stale:snapshot:1",
        "is_page_fault_stale",
        "fault.mmu_seq",
        "m.mmu_invalidate_seq",
    ),
    Bug(
        "fast-fault-not-logged",
        "fast_page_fault() makes a page writable and does not log it",
        "x86/fast_fault.py:fast_pf_fix_direct_spte:dirty-bit:1",
        "fast_pf_fix_direct_spte",
        "m.mark_page_dirty_in_slot(fault.slot, fault.gfn)",
        "pass",
    ),
    Bug(
        "fast-fault-without-compare",
        "fast_page_fault() stores over whatever the SPTE is by now",
        "x86/fast_fault.py:fast_page_fault:cmpxchg:1",
        "fast_page_fault",
        "sp.spt[index] == spte",
        "True",
    ),
    Bug(
        "shadow-set-without-flush",
        "mmu_set_spte() of the shadow MMU takes rights away and does not flush",
        "x86/shadow_mmu/direct_map.py:mmu_set_spte:flush-call:1",
        "mmu_set_spte",
        "yield from kvm_flush_remote_tlbs(m, SHADOW_FLUSH)",
        "pass",
    ),
    Bug(
        "harvest-without-kick",
        "KVM_GET_DIRTY_LOG does not empty the PML buffers of running vCPUs",
        "x86/dirty_log.py:kvm_arch_sync_dirty_log:flush-local:1",
        "kvm_arch_sync_dirty_log",
        "m.kick_all()",
        "pass",
    ),
    Bug(
        "range-of-invalidations-ends-early",
        "of two invalidations at a time, faults are held off the first one's end only",
        "kvm/mmu_notifier.py:kvm_mmu_invalidate_range_add:seq:4",
        "kvm_mmu_invalidate_range_add",
        "kvm.mmu_invalidate_range_end = max(kvm.mmu_invalidate_range_end, end)",
        "pass",
    ),
    Bug(
        "drop-large-without-flush",
        "drop_large_spte() does not flush",
        "x86/shadow_mmu/shadow_page.py:drop_large_spte:flush-call:1",
        "drop_large_spte",
        "yield from kvm_flush_remote_tlbs(m, SHADOW_DROP_FLUSH)",
        "pass",
    ),
)
BY_NAME: Final = {bug.name: bug for bug in BUGS}


def number_of(bug: Bug) -> int:
    """The number by which a process is told to have this bug; 0 if it needs no planting."""
    return BUGS.index(bug) + 1 if bug.function else 0
