# SPDX-License-Identifier: GPL-2.0-only
"""The slow judge of translations: looks at everything after every step and trusts no event.

The judge of a run acts on what the model reports; an event the model forgets to report makes it weaker without a sign.
This one finds out for itself who changed page tables, by comparing them with what they were, and as soon as no such
actor holds mmu_lock it holds every usable TLB entry of every vCPU against the page tables.
"""

from __future__ import annotations

from fuzzer.oracle.translations import staleness
from fuzzer.run.execute import Execution
from fuzzer.schedule.scheduler import Scheduler
from reference_mmu.kvm.observer import Observable
from reference_mmu.kvm.vcpu import TLB_PFN_SHIFT, KvmVcpu
from reference_mmu.points import GET_FLUSH, GET_WORD


class Paranoid:
    """`found`: invariant -> number of the step that showed it first."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.found: dict[str, int] = {}
        self.tables: list[list[int]] = []
        self.changed: set[int] = set()  # actors that changed a page table under the mmu_lock they still hold

    def run(self, scheduler: Scheduler, max_steps: int) -> None:
        """Run the program to its end, or for max_steps."""
        execution = self.execution
        while execution.n_live and execution.steps < max_steps:
            if not execution.find_ready():
                return
            actor = scheduler.pick(execution)
            execution.step(execution.actors[actor])
            self.look(int(actor))

    def look(self, actor: int) -> None:
        """`actor` has just made a step."""
        m = self.execution.m
        tables = [[int(spte) & ~self.hardware_bits() for spte in sp.spt] for sp in m.tables()]
        if tables != self.tables:
            self.changed.add(actor)
        self.tables = tables
        self.changed = {a for a in self.changed if m.mmu_lock.held[a] != 0}
        for vcpu in m.vcpus:
            if not m.usable(vcpu):
                continue
            for _, pt in vcpu.structure_cache.items():
                if m.table(pt).freed:
                    self.report("freed-table-reference")
            if not self.changed:
                self.scan(m, vcpu)

    def hardware_bits(self) -> int:
        """What the page walker may set at any time."""
        return int(self.execution.m.hardware_bits())

    def scan(self, m: Observable, vcpu: KvmVcpu) -> None:
        """Every entry, page by page, against the SPTE as it is now."""
        root = m.root_of(vcpu)
        assert root is not None
        for key, entry in vcpu.tlb.items():
            first, end = m.entry_range(key)
            for gfn in range(first, end):
                invariant = staleness(m, root, gfn, entry + ((gfn - first) << TLB_PFN_SHIFT))
                if invariant == "stale-writable-mmuw" and self.harvest_protects_huge():
                    continue
                if invariant:
                    self.report(invariant)

    def harvest_protects_huge(self) -> bool:
        """A harvest takes MMU_WRITABLE from huge pages and flushes only after mmu_lock is released, which the rule
        about stale writable entries exempts: true from there to its flush."""
        return any(GET_WORD <= running.at <= GET_FLUSH for running in self.execution.actors)

    def report(self, invariant: str) -> None:
        self.found.setdefault(invariant, int(self.execution.steps))
