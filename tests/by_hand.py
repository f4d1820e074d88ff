# SPDX-License-Identifier: GPL-2.0-only
"""Flows of the model driven by hand: who moves when is written out in the test."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from fuzzer.oracle.judge import Judge
from fuzzer.oracle.x86_judge import X86Judge
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.tlb import lookup
from reference_mmu.kvm.vm import Vm
from reference_mmu.observed import EV_FLUSH, EV_PF, EV_SHIFT, EV_WARN, EV_YOUNG, PF_READ_ONLY
from reference_mmu.x86.page_table import KvmMmuPage
from reference_mmu.x86.spte import is_last_spte, is_shadow_present_pte, spte_to_pfn
from reference_mmu.x86.vcpu import vcpu_access
from reference_mmu.x86.x86 import X86

OPERATIONS = 600
MM = 3  # three vCPUs at most, then the primary MMU, an ioctl, a device
IOCTL = 4
DEVICE = 5
ACTORS = 6

VALUE = (1 << EV_SHIFT) - 1


def is_freed(sp: PageTable) -> bool:
    """A function, since to a type checker a field that was just asserted is a constant."""
    return sp.freed


class Thread:
    """One operation of one actor. `uid` names it; `points` are those it has passed."""

    def __init__(self, stage: AnyStage, actor: int, flow: Generator[int, None, Any]) -> None:
        self.stage = stage
        self.actor = actor
        self.flow = flow
        self.uid = stage.operations
        stage.operations += 1
        self.points: list[int] = []
        self.ended = False
        self.result: Any = None

    @property
    def at(self) -> int:
        """The point it stands at, 0 before the first and after the end."""
        return self.points[-1] if self.points and not self.ended else 0

    def can_run(self) -> bool:
        return not self.ended and self.stage.m.can_run(self.actor, self.stage.m.points.wants[self.at])

    def step(self) -> None:
        """To the next point, or the end."""
        m = self.stage.m
        assert self.can_run(), f"actor {self.actor} has ended or waits at {m.points.names[self.points[-1]]}"
        m.actor = self.actor
        m.uid = self.uid
        reports = self.stage.judge.reports
        reports.begin_turn(self.actor, self.uid, self.at)
        try:
            self.points.append(next(self.flow))
        except StopIteration as stop:
            self.ended = True
            self.result = stop.value
        reports.here = self.at

    def to(self, point: int) -> Thread:
        """Until it stands at `point` for the next time."""
        while True:
            self.step()
            names = self.stage.m.points.names
            assert not self.ended, f"ended without {names[point]}, after {[names[p] for p in self.points]}"
            if self.points[-1] == point:
                return self

    def finish(self) -> Thread:
        while not self.ended:
            self.step()
        return self

    # --- what it did ----------------------------------------------------------------------------------------

    def events(self) -> list[int]:
        return self.stage.m.observed.events(self.uid)

    def kinds(self) -> list[int]:
        return [event >> EV_SHIFT for event in self.events()]

    @property
    def flushes(self) -> int:
        return self.kinds().count(EV_FLUSH)

    @property
    def warnings(self) -> int:
        return self.kinds().count(EV_WARN)

    @property
    def faults(self) -> list[int]:
        """PF_* of every fault, in order, without PF_READ_ONLY."""
        return [event & (PF_READ_ONLY - 1) for event in self.events() if event >> EV_SHIFT == EV_PF]

    @property
    def young(self) -> bool:
        (answer,) = [event & VALUE for event in self.events() if event >> EV_SHIFT == EV_YOUNG]
        return bool(answer)

    def count(self, counter: int) -> int:
        return int(self.stage.m.observed.counted(self.uid, counter))


class AnyStage:
    """A machine of any architecture, its judge, and threads on it. An architecture's own Stage says how a guest access
    begins."""

    m: Vm
    judge: Judge

    def __init__(self) -> None:
        self.operations = 0

    def access(self, vcpu: int, gfn: int, *, write: bool = False, upgrade_fails: bool = False) -> Thread:
        """A guest load or store, not yet begun."""
        raise NotImplementedError

    def thread(self, actor: int, flow: Generator[int, None, Any]) -> Thread:
        return Thread(self, actor, flow)

    def run(self, actor: int, flow: Generator[int, None, Any]) -> Thread:
        """A whole operation that nobody interferes with."""
        return self.thread(actor, flow).finish()

    def read(self, vcpu: int, gfn: int) -> Thread:
        return self.access(vcpu, gfn).finish()

    def write(self, vcpu: int, gfn: int) -> Thread:
        return self.access(vcpu, gfn, write=True).finish()

    # --- what there is --------------------------------------------------------------------------------------

    @property
    def violations(self) -> list[str]:
        """Invariants broken so far, in order."""
        return list(self.judge.violations)

    def final_violations(self) -> list[str]:
        """Those, and what the judge finds in the state that the threads leave behind."""
        self.judge.finish(self.m)
        return self.violations

    def cached(self, vcpu: int, gfn: int) -> int:
        """The TLB entry of a vCPU for gfn, 0 if there is none."""
        return int(lookup(self.m, self.m.vcpus[vcpu], gfn))

    def take(self, pfn: int, *, pin: bool = False, actor: int = 0) -> None:
        """A reference, or a pin, as GUP takes it for an actor; that one runs from then on."""
        self.m.actor = actor
        if pin:
            self.m.host.pin(pfn)
        else:
            self.m.host.get(pfn)
        self.m.page_taken(pfn, pin)

    def dirty(self, gfn: int, slot: int = 0) -> bool:
        """Is gfn's bit set in the dirty bitmap?"""
        (found,) = [s for s in self.m.memslots if s.number == slot]
        return self.m.is_dirty(found, gfn)


class Stage(AnyStage):
    """A machine of x86. Keywords are fields of Config; `semantics` OLD unless said."""

    def __init__(self, semantics: Semantics = OLD, **config: Any) -> None:
        super().__init__()
        self.judge = X86Judge()
        self.m: X86 = X86(
            msgspec.structs.replace(Config(), **config).check(), semantics, ACTORS, OPERATIONS, self.judge
        )

    def access(self, vcpu: int, gfn: int, *, write: bool = False, upgrade_fails: bool = False) -> Thread:
        return self.thread(vcpu, vcpu_access(self.m, self.m.x86_vcpus[vcpu], gfn, write, upgrade_fails))

    def root(self, vcpu: int = 0) -> KvmMmuPage:
        root = self.m.x86_vcpus[vcpu].root
        assert root is not None
        return root

    def entry(self, gfn: int, level: int = 1, vcpu: int = 0) -> tuple[KvmMmuPage, int]:
        """Table and index of the entry for gfn at `level`, or of the one above where the walk ends."""
        sp = self.root(vcpu)
        while True:
            index = int(self.m.spte_index(gfn, sp.level))
            spte = sp.spt[index]
            if sp.level == level or not is_shadow_present_pte(spte) or is_last_spte(spte, sp.level):
                return sp, index
            sp = self.m.page_tables[spte_to_pfn(spte)]

    def leaf(self, gfn: int, vcpu: int = 0) -> int:
        """The leaf SPTE of gfn, 0 if there is none."""
        return int(self.m.leaf_of(self.root(vcpu), gfn)[0])

    def level(self, gfn: int, vcpu: int = 0) -> int:
        return int(self.m.leaf_of(self.root(vcpu), gfn)[1])

    def cached_tables(self, vcpu: int) -> list[KvmMmuPage]:
        """The page tables that the structure cache of a vCPU points to."""
        return [self.m.page_tables[number] for _, number in self.m.x86_vcpus[vcpu].structure_cache.items()]

    def store(self, gfn: int, spte: int, level: int = 1) -> None:
        """Overwrite an entry as a flow with a bug would: locked, stored and reported, but no more than that."""
        m = self.m
        sp, index = self.entry(gfn, level)
        old = sp.spt[index]
        locked = m.mmu_lock.held[m.actor] != 0
        if not locked:
            m.mmu_lock.write_lock(m.actor)
        m.rcu.lock(m.actor)
        sp.spt[index] = spte
        m.spte_changed(sp, index, old, spte)
        m.rcu.unlock(m.actor)
        # Not the machine's own unlock: whether that flushed enough is for the test to ask.
        if not locked:
            m.mmu_lock.write_unlock(m.actor)

    def store_and_unlock(self, gfn: int, spte: int, *, flush: bool = False) -> None:
        """store(), as all that happened while mmu_lock was held, but for a flush if asked for."""
        self.m.write_lock()
        self.store(gfn, spte)
        if flush:
            self.m.flush_all()
        self.m.write_unlock()
