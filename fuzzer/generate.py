# SPDX-License-Identifier: GPL-2.0-only
"""seed + profile -> Program: a random configuration and a short random list of operations per actor.

Programs are small on purpose: few pages, so that actors collide; few operations, so that a schedule of a hundred
turns can hit the window that matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fuzzer import ops
from fuzzer.ops import AnyOperation
from fuzzer.profile import PROFILES, Profile
from fuzzer.program import Actor, Program
from fuzzer.rng import Rng
from reference_mmu.config import Config, GuestPaging, GuestPte, SlotConfig

_MIXED: Final = 0x3C6EF372  # keeps the draw of a profile apart from the program's
_OF_A_RANGE: Final[dict[str, Callable[..., AnyOperation]]] = {"numa-hint": ops.NumaHint, "discard": ops.Discard}
_OF_A_PAGE: Final[dict[str, Callable[..., AnyOperation]]] = {
    "migrate": ops.Migrate,
    "reclaim": ops.Reclaim,
    "writeback": ops.Writeback,
    "share": ops.Share,
    "collapse-huge": ops.CollapseHuge,
}


class _Builder:
    """The state of one generation: the stream, the configuration, the next uid."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.rng = Rng(seed)
        self.profile = profile
        self.next_uid = 0
        self.config = self.make_config()

    def uid(self) -> int:
        self.next_uid += 1
        return self.next_uid - 1

    def weighted(self, *weights: int) -> int:
        """An index, drawn in proportion to the weights."""
        at = self.rng.below(sum(weights))
        for index, weight in enumerate(weights):
            if at < weight:
                return index
            at -= weight
        raise AssertionError("weights are positive")

    def make_config(self) -> Config:
        rng = self.rng
        profile = self.profile
        mmu = profile.mmu[rng.below(len(profile.mmu))]
        blocks = 2 + rng.below(2)
        backing = tuple(
            "thp" if rng.chance(profile.huge, 6) else profile.backings[rng.below(len(profile.backings))]
            for _ in range(blocks)
        )
        manual = rng.chance(profile.manual, 3)
        return Config(
            mmu=mmu,
            paging=profile.paging[rng.below(len(profile.paging))],
            vcpus=2 + int(rng.chance(profile.third_vcpu, 4)),
            slots=self.make_slots(blocks * 4),
            backing=backing,
            eager_split=rng.chance(1, 2),
            manual_protect=manual,
            initially_set=manual and rng.chance(1, 2),
            zap_all_quirk=rng.chance(profile.quirk, 3),
            prove_mmu=rng.chance(1, 4),
            word_gfns=profile.word_gfns[rng.below(len(profile.word_gfns))],
            pml_entries=1 + rng.below(4),
            nested=mmu == "tdp" and rng.chance(profile.nested, 4),
        )

    def make_slots(self, pages: int) -> tuple[SlotConfig, ...]:
        """One slot over everything, or two, with a base that need not be aligned."""
        rng = self.rng
        base = 4 * rng.below(3) if rng.chance(2, 3) else rng.below(10)
        logging = rng.chance(self.profile.logging, 20)
        if rng.chance(self.profile.one_slot, 3):
            return (SlotConfig(base=base, npages=pages, hva=0, logging=logging),)
        cut = 4 if rng.chance(self.profile.aligned, 2) else 1 + rng.below(pages - 1)
        gap = self.profile.gaps[rng.below(len(self.profile.gaps))]
        return (
            SlotConfig(base=base, npages=cut, hva=0, logging=logging),
            SlotConfig(base=base + cut + gap, npages=pages - cut, hva=cut),
        )

    # --- addresses ------------------------------------------------------------------------------------------

    def gfn(self) -> int:
        """A gfn of a slot; often the first page of a slot, so that actors meet."""
        slots = self.config.slots
        slot = slots[self.rng.below(len(slots))]
        if self.rng.chance(self.profile.hot, 6):
            return slot.base
        return slot.base + self.rng.below(slot.npages)

    def hva(self) -> int:
        slots = self.config.slots
        slot = slots[self.rng.below(len(slots))]
        if self.rng.chance(self.profile.hot, 6):
            return slot.hva
        return slot.hva + self.rng.below(slot.npages)

    def run_of(self, first: int, limit: int) -> int:
        """How many pages from `first`: mostly few, never past `limit`."""
        return min(1 + self.rng.below(5), limit - first)

    def resched(self) -> int:
        return int(self.rng.below(256)) if self.rng.chance(1, 2) else 0

    # --- operations -----------------------------------------------------------------------------------------

    def vcpu_ops(self, count: int) -> tuple[AnyOperation, ...]:
        return tuple(self.vcpu_op() for _ in range(count))

    def vcpu_op(self) -> AnyOperation:
        profile = self.profile
        nested = profile.nested if self.config.nested else 0
        kind = self.weighted(12, 12, profile.prefetch, nested)
        if kind == 0:
            return ops.Read(self.uid(), self.gfn(), upgrade_fails=self.rng.chance(profile.readonly, 4))
        if kind == 1:
            return ops.Write(self.uid(), self.gfn())
        if kind == 2:
            return ops.Prefetch(
                self.uid(), self.gfn(), upgrade_fails=self.rng.chance(1, 4), write=self.rng.chance(1, 3)
            )
        return ops.Nested(self.uid())

    def mm_op(self) -> AnyOperation:
        if self.weighted(self.profile.aging, self.profile.invalidation) == 0:
            hva = self.hva()
            npages = self.run_of(hva, self.config.hva_pages)
            kind = self.rng.below(4)
            if kind < 2:
                return ops.ClearFlushYoung(self.uid(), hva, npages)
            return ops.ClearYoung(self.uid(), hva, npages) if kind == 2 else ops.TestYoung(self.uid(), hva)
        return self.invalidation()

    def invalidation(self) -> AnyOperation:
        hva = self.hva()
        kind = self.profile.invalidations[self.rng.below(len(self.profile.invalidations))]
        if kind in _OF_A_RANGE:
            npages = self.run_of(hva, self.config.hva_pages)
            return _OF_A_RANGE[kind](self.uid(), hva, npages, resched=self.resched())
        return _OF_A_PAGE[kind](self.uid(), hva, resched=self.resched())

    def ioctl_ops(self, count: int) -> list[AnyOperation]:
        """A plausible life of the slots: what makes no sense (GET of a slot that does not log) returns at once."""
        logging = {n: slot.logging for n, slot in enumerate(self.config.slots)}
        deleted: set[int] = set()
        made: list[AnyOperation] = []
        while len(made) < count:
            number = self.slot_number()
            if number in deleted:
                made.append(ops.CreateSlot(self.uid(), number))
                deleted.remove(number)
                logging[number] = False
            elif self.weighted(self.profile.logging, self.profile.slots) == 1:
                made.append(self.slot_op(number))
                if isinstance(made[-1], ops.DeleteSlot):
                    deleted.add(number)
            elif not logging[number]:
                made.append(ops.EnableLog(self.uid(), number, resched=self.resched()))
                logging[number] = True
            elif self.rng.chance(1, 3):
                made.append(ops.DisableLog(self.uid(), number, resched=self.resched()))
                logging[number] = False
            else:
                made.append(self.harvest(number))
        return made

    def slot_number(self) -> int:
        return int(self.rng.below(len(self.config.slots)))

    def harvest(self, number: int) -> AnyOperation:
        if self.config.manual_protect and self.rng.chance(2, 3):
            slot = self.config.slots[number]
            first = self.rng.below(slot.npages)
            npages = 1 + self.rng.below(slot.npages)
            return ops.ClearLog(self.uid(), number, first, npages, resched=self.resched())
        return ops.GetLog(self.uid(), number, resched=self.resched())

    def slot_op(self, number: int) -> AnyOperation:
        kind = self.rng.below(3)
        if kind == 0:
            return ops.DeleteSlot(self.uid(), number, resched=self.resched())
        if kind == 1:
            return ops.CreateSlot(self.uid(), number)
        base = self.config.slots[number].base + 4
        npages = self.config.slots[number].npages
        if base + npages > 1 << (self.config.bits * self.config.levels):
            base = 0
        return ops.MoveSlot(self.uid(), number, base, resched=self.resched())

    def device_op(self) -> AnyOperation:
        gfn = self.gfn()
        kind = self.rng.below(4)
        if kind < 2:
            return ops.Track(self.uid(), gfn)
        if kind == 2:
            return ops.Untrack(self.uid(), gfn)
        return ops.ZapRange(self.uid(), gfn, 1 + self.rng.below(4), resched=self.resched())

    def program(self) -> Program:
        rng = self.rng
        actors: list[Actor] = []
        for _ in range(self.config.vcpus):
            count = 2 + rng.below(self.profile.vcpu_ops - 1)
            actors.append(Actor("vcpu", self.vcpu_ops(count)))
        if self.profile.aging + self.profile.invalidation:
            actors.append(Actor("mm", tuple(self.mm_op() for _ in range(1 + rng.below(self.profile.mm_ops)))))
        if rng.chance(self.profile.logging + self.profile.slots, 10):
            actors.append(Actor("ioctl", tuple(self.ioctl_ops(1 + rng.below(self.profile.ioctls)))))
            if rng.chance(1, 4):  # slots_lock is there for a reason
                actors.append(Actor("ioctl", tuple(self.ioctl_ops(1 + rng.below(2)))))
        if rng.chance(self.profile.tracking, 4):
            actors.append(Actor("device", tuple(self.device_op() for _ in range(1 + rng.below(2)))))
        return Program(self.config, tuple(actors))


class _GuestTablesBuilder(_Builder):
    """Guests with page tables of their own: few of them, each mapped somewhere, so that vCPUs rewrite what the others
    walk. Every table and every virtual page in use is among the first of its kind."""

    def make_config(self) -> Config:
        rng = self.rng
        config = super().make_config()
        levels = 3 if rng.chance(self.profile.guest_roots, 4) else 2
        size = 1 << config.bits
        # Slots that fit, and gfns that no two levels of paging reach, stay as in other profiles.
        self.gfns = len(config.backing) * size
        slots = self.guest_slots(config.slots[0].logging)
        self.tables = self.table_gfns(levels + self.profile.guest_roots, slots[0].npages)
        self.roots = [self.tables[0], *self.tables[levels + 1 :]]
        self.table_pages: list[int] = []  # virtual pages at which the guest sees a table
        self.recursive_pages = range(0)  # those that a root translates through itself
        self.ptes = self.make_ptes(levels, size)
        return Config(
            mmu="shadow",
            paging="npt" if rng.chance(1, 2) else config.paging,
            vcpus=config.vcpus,
            levels=levels,
            slots=slots,
            backing=config.backing,
            manual_protect=config.manual_protect,
            initially_set=config.initially_set,
            zap_all_quirk=config.zap_all_quirk,
            prove_mmu=config.prove_mmu,
            word_gfns=config.word_gfns,
            pml_entries=config.pml_entries,
            guest_paging=GuestPaging(self.tables[0], (*self.ptes, *self.shared_ptes(levels, size))),
        )

    def guest_slots(self, logging: bool) -> tuple[SlotConfig, ...]:
        """One slot, or one that can go, often with no more than the root table, while the guest runs on in the
        other."""
        if self.profile.guest_roots == 1:
            return (SlotConfig(base=0, npages=self.gfns, hva=0, logging=logging),)
        cut = 1 if self.rng.chance(1, 2) else 1 + self.rng.below(self.gfns - 1)
        return (
            SlotConfig(base=0, npages=cut, hva=0, logging=logging),
            SlotConfig(base=cut, npages=self.gfns - cut, hva=cut),
        )

    def table_gfns(self, count: int, cut: int) -> list[int]:
        """Where the tables are. Of two slots the one that goes has the root, or none of them: a vCPU whose root is in
        it cannot load that again, so it is in the other case that roots are made while old ones are zapped."""
        chosen: list[int] = []
        first = 0
        if self.profile.guest_roots > 1:
            if self.rng.chance(1, 3):
                chosen.append(0)
            elif self.gfns - cut >= count:
                first = cut
        while len(chosen) < count:
            gfn = first + self.rng.below(self.gfns - first)
            if gfn not in chosen:
                chosen.append(gfn)
        return chosen

    def make_ptes(self, levels: int, size: int) -> list[GuestPte]:
        """One table for each upper level, two for the leaves; the last of these maps the tables."""
        rng = self.rng
        ptes = []
        for upper in range(levels - 2):
            ptes.append(self.make_pte(self.tables[upper], 0, self.tables[upper + 1]))
        for index in range(2):
            ptes.append(self.make_pte(self.tables[levels - 2], index, self.tables[levels - 1 + index]))
        for index in range(size):
            if rng.chance(7, 8):
                ptes.append(self.make_pte(self.tables[levels - 1], index, rng.below(self.gfns)))
        self.hot_ptes = [pte for pte in ptes if pte.table == self.tables[levels - 1]][:1]
        self.hot_page = self.hot_ptes[0].index if self.hot_ptes else 0
        for index, table in enumerate(self.tables[: levels + 1]):
            ptes.append(GuestPte(self.tables[levels], index, table, accessed=True, dirty=rng.chance(2, 3)))
            self.table_pages.append(size + index)
        return ptes

    def shared_ptes(self, levels: int, size: int) -> list[GuestPte]:
        """More roots over the tables of the first, as of processes that share what is the kernel's; its last entry
        may point to itself, as in guests that find their tables that way. The program does not change these."""
        ptes = []
        for root in self.roots[1:]:
            for pte in self.ptes:
                if pte.table == self.tables[0]:
                    ptes.append(self.make_pte(root, pte.index, pte.gfn))
        if ptes and self.rng.chance(1, 2):
            ptes.append(self.make_pte(self.tables[0], size - 1, self.tables[0]))
            self.recursive_pages = range((size - 1) * size ** (levels - 1), size**levels)
        return ptes

    def make_pte(self, table: int, index: int, gfn: int) -> GuestPte:
        rng = self.rng
        return GuestPte(
            table,
            index,
            gfn,
            writable=rng.chance(7, 8),
            executable=rng.chance(3, 4),
            accessed=rng.chance(3, 4),
            dirty=rng.chance(1, 2),
        )

    def page(self) -> int:
        """A virtual page, most often one that is mapped at the start, and no table."""
        if self.rng.chance(self.profile.hot, 6):
            return self.hot_page
        if self.recursive_pages and self.rng.chance(1, 3):
            return self.recursive_pages[self.rng.below(len(self.recursive_pages))]
        if self.rng.chance(1, 8):
            return self.rng.below(1 << (self.config.bits + 1))
        return self.rng.below(1 << self.config.bits)

    def resched(self) -> int:
        """Often everywhere: there are too few shadow pages for one region to come up at the right moment."""
        return 255 if self.rng.chance(1, 2) else super().resched()

    def vcpu_ops(self, count: int) -> tuple[AnyOperation, ...]:
        """With several roots, as of processes, the vCPUs do not all begin with the same one."""
        if len(self.roots) == 1:
            return super().vcpu_ops(count)
        first = ops.LoadCr3(self.uid(), self.roots[self.rng.below(len(self.roots))])
        return (first, *super().vcpu_ops(count))

    def vcpu_op(self) -> AnyOperation:
        rng = self.rng
        flush = self.profile.guest_tables // 2
        load = flush // 2 if len(self.roots) == 1 else self.profile.guest_tables
        kind = self.weighted(9, 6, self.profile.prefetch, self.profile.guest_tables, flush, load)
        if kind == 0:
            return ops.Read(self.uid(), self.page(), upgrade_fails=rng.chance(1, 4))
        if kind == 1:
            return ops.Write(self.uid(), self.page())
        if kind == 2:
            return ops.Prefetch(self.uid(), self.page(), upgrade_fails=rng.chance(1, 4), write=rng.chance(1, 3))
        if kind == 3:
            return self.write_pte()
        if kind == 4 and self.config.paging == "npt":
            return ops.Invlpg(self.uid(), self.page())
        table = self.roots[rng.below(len(self.roots))] if rng.chance(5, 6) else self.tables[rng.below(len(self.tables))]
        return ops.LoadCr3(self.uid(), table)

    def slot_number(self) -> int:
        """Mostly the one that can go."""
        return 0 if self.rng.chance(1, 2) else super().slot_number()

    def slot_op(self, number: int) -> AnyOperation:
        """Most often what takes page tables away: with two slots end to end there is hardly room for a move."""
        if self.rng.chance(1, 2):
            return ops.DeleteSlot(self.uid(), number, resched=self.resched())
        return super().slot_op(number)

    def write_pte(self) -> AnyOperation:
        """Mostly other rights for what an entry points to already: then the SPTE may stay and be rewritten."""
        rng = self.rng
        ptes = self.hot_ptes if self.hot_ptes and rng.chance(self.profile.hot, 6) else self.ptes
        pte = ptes[rng.below(len(ptes))]
        table, index, target = self.tables.index(pte.table), pte.index, pte.gfn
        if rng.chance(1, 3):
            target = rng.below(self.gfns)
        elif rng.chance(1, 6):
            target = -1
        return ops.WritePte(
            self.uid(),
            self.table_pages[table],
            index,
            target,
            writable=rng.chance(3, 4),
            executable=rng.chance(3, 4),
            accessed=rng.chance(5, 6),
            dirty=rng.chance(3, 4),
        )


def generate(seed: int, profile: Profile) -> Program:
    """The program of a seed: a pure function of both arguments."""
    if profile.mixes:
        drawn = Rng(seed ^ _MIXED).below(2 * len(profile.mixes))
        if drawn < len(profile.mixes):
            profile = PROFILES[profile.mixes[drawn]]
    if profile.guest_tables:
        return _GuestTablesBuilder(seed, profile).program()
    return _Builder(seed, profile).program()
