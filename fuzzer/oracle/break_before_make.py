# SPDX-License-Identifier: GPL-2.0-only
"""Break before make, which the Arm architecture asks of whoever replaces a valid entry (Arm ARM, D8 "Using
break-before-make when updating translation table entries"): the entry is made invalid, the TLBs of all CPUs drop what
they have of it, and only then the new value is stored.  Otherwise a CPU may have both at once, and do anything.

Rights, the access flag and software bits of an entry may change in place. What a shared walk still stores in a table
that another one has unlinked reaches no CPU.
"""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.reports import Reports
from reference_mmu.kvm.observer import PTE_TABLE, Observable
from reference_mmu.kvm.page_table import PageTable


@mypyc_attr(acyclic=True, free_list_len=1)
class BreakBeforeMake:
    """Looks at each valid entry that is stored."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports

    def spte_changed(self, m: Observable, sp: PageTable, index: i64, old_spte: i64, new_spte: i64) -> None:
        was, now = m.pte_kind(old_spte, sp.level), m.pte_kind(new_spte, sp.level)
        if now < PTE_TABLE or sp.unlinked:
            return
        if was < PTE_TABLE:
            first, end = m.leaf_gfns(sp, index, new_spte)
            if any(m.can_use(vcpu, first, end) for vcpu in m.vcpus):
                self.reports.report("break-before-make")
        elif was != now or m.pte_pfn(old_spte) != m.pte_pfn(new_spte):
            self.reports.report("break-before-make")
