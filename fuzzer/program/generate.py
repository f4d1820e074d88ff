# SPDX-License-Identifier: GPL-2.0-only
"""seed + profile -> Script: a random configuration and a short random list of operations per actor.

Programs are small on purpose: few pages, so that actors collide; few operations, so that a schedule of a hundred
turns can hit the window that matters.
"""

from __future__ import annotations

from typing import Any, Final

from librt.vecs import vec
from msgspec.structs import replace
from mypy_extensions import i64

from fuzzer.program.arguments import STARTS, Argument, values_of
from fuzzer.program.blend import member
from fuzzer.program.ops import ARGUMENTS, KINDS, has, tag
from fuzzer.program.profile import ADDED_OF, DRAWN_BY, GIGANTIC_OF, GMEM_OF, MISHAPS_OF, PROFILES, Profile
from fuzzer.program.program import Program
from fuzzer.program.rng import Rng, stream
from fuzzer.program.script import NUMBERS, Script, call_with
from reference_mmu import operations
from reference_mmu.architectures import architecture_name
from reference_mmu.bits import bit_ull
from reference_mmu.config import Backing, Config, GuestPaging, GuestPte, SlotConfig, words_fit
from reference_mmu.operations import Call

# What numbers in a Profile are parts of.
_HUGE_OF: Final = 6  # blocks of memory
_HOT_OF: Final = 6  # addresses
_READONLY_OF: Final = 4  # read faults
_THIRD_VCPU_OF: Final = 4  # machines, as the next six
_MANUAL_OF: Final = 3
_QUIRK_OF: Final = 3
_ONE_SLOT_OF: Final = 3
_ALIGNED_OF: Final = 2
_LOGGING_OF: Final = 20  # which log from the start
_NESTED_OF: Final = 4  # of those with a TDP MMU, which have nested roots
_IOCTLS_OF: Final = 10  # programs, of which as many have ioctls as logging and slots weigh together
_TRACKING_OF: Final = 4  # programs, which have a device

# Memory is two or three huge pages: one to work on, one beside it that shares a table with it, and perhaps another.
# A huge page is of so many pages, Config.bits being what it is unless somebody says otherwise.
_BLOCK_PAGES: Final = 4
_BITS: Final = 2  # so many pages has a huge page
_BLOCKS_MIN: Final = 2
_BLOCKS_MAX: Final = 3
_BASE_BLOCKS: Final = 3  # where the first slot begins, in huge pages,
_BASE_PAGES: Final = 10  # or in pages: as far, and not aligned
_PML_ENTRIES_MAX: Final = 4  # few, so that buffers of two vCPUs get full
_GMEM_GAP_MAX: Final = 3  # pages of the guest_memfd that no slot has, before one that has some
_RUN_PAGES_MAX: Final = 5  # of a range: one page more than a huge page has
_RESCHED_MASKS: Final = 256  # eight regions, more than a program has tables
_SETS_YOUNG: Final = 2  # of three machines with a stage-2 table, how many have a page walker that sets young bits
_WALKERS: Final = 3
_YOUNG_BY_KVM: Final = ("loongarch", "mips", "s390")  # no page walker of these sets one
_X86_ALONE: Final = {
    name: getattr(Config(), name) for name in ("mmu", "paging", "zap_all_quirk", "prove_mmu", "pml_entries", "nested")
}
_PROVE_ONE_OF: Final = 4  # machines with CONFIG_KVM_PROVE_MMU
_MISHAP_ONE_OF: Final = 3  # of these, each for itself
# Only those meet them that a profile names.
_MISHAPS_APART: Final = (operations.MISHAP_NO_SEGMENT, operations.MISHAP_LOCK_WANTED)
_ANY_MISHAP: Final = tuple(mishap for mishap in operations.MISHAPS.values() if mishap not in _MISHAPS_APART)
_FAILS_ONE_OF: Final = 4  # upgrades to writable that fail
_WRITES_ONE_OF: Final = 3  # prefetches that are for writing
_FLUSHES_YOUNG: Final = 2  # of the four that age: clear-flush-young, which is what a commit changes; the others once
_AGES: Final = 4
_LOG_ENDS_ONE_OF: Final = 3  # things done to a slot that logs
_CLEARS_BY_HAND: Final = 2  # of three harvests where that is possible
_HARVESTS: Final = 3
_SLOT_CHANGES: Final = 3  # delete, create, move, alike
_TRACKS: Final = 2  # of four things a device does: track; untrack and zap once each
_DEVICE_DOES: Final = 4
_ZAP_PAGES_MAX: Final = 4  # a huge page
_SECOND_IOCTL_ONE_OF: Final = 4  # programs with ioctls, which have two threads of them: slots_lock has its reason
_SECOND_IOCTLS_MAX: Final = 2
_DEVICE_OPS_MAX: Final = 2
_FRESH: Final = 3  # of four APIC access pages, how many nobody has touched; the others were locked into memory
_APIC_PAGES: Final = 4

# Of machines with pages of 1G.
_GIGANTIC_BITS: Final = 1
_GIGANTIC_BLOCKS: Final = 2  # huge pages in one of 1G
_GIGANTIC_LEVELS: Final = 5  # as many gfns as other machines need
_NO_MEMORY_ONE_OF: Final = 4  # ioctls that split huge pages
_SPLITTING: Final = (operations.ENABLE_LOG, operations.GET_LOG, operations.CLEAR_LOG)

# Of guests with page tables of their own.
_THREE_LEVELS_OF: Final = 4  # guests, of which as many have three levels as there are roots; the others have two
_FAR_ONE_OF: Final = 8  # pages, which may lie among the tables' own
_RECURSIVE_ONE_OF: Final = 3  # pages that are translated by a root which points to itself, where there is one
_ROOT_WITH_OTHERS_ONE_OF: Final = 3  # guests whose root is in the slot that goes
_RETARGETS_ONE_OF: Final = 3  # stores to an entry that make it point elsewhere,
_CLEARS_ONE_OF: Final = 6  # and, of the others, that make it not present

_NUMBER_OF: Final = {tag(kind): number for kind, number in NUMBERS.items()}
_INVALIDATES_PAGES: Final = frozenset(NUMBERS[kind] for kind in DRAWN_BY["invalidation"] if has(kind, Argument.PAGES))
_INVALIDATES_FOR: Final = frozenset(NUMBERS[kind] for kind in DRAWN_BY["invalidation"] if has(kind, Argument.FLAG))
_INVALIDATES_SOMEWHERE: Final = frozenset(NUMBERS[kind] for kind in DRAWN_BY["invalidation"] if has(kind, Argument.HVA))


class _Weight:
    """A kind of operation that a profile adds to the others of an actor, `weight` of ADDED_OF of which have one before
    them; `apart`: what keeps its stream apart from others of a seed."""

    def __init__(self, kind: Any, weight: i64) -> None:
        self.kind = kind
        self.weight = weight
        self.actor = next(actor for actor, kinds in KINDS.items() if kind in kinds)
        self.apart: i64 = stream(0, "added " + tag(kind))
        self.arguments = list(ARGUMENTS[kind].items())
        self.is_range = has(kind, Argument.PAGES)


class _Added:
    """That kind in one program, with the stream that it is drawn from."""

    def __init__(self, seed: i64, what: _Weight) -> None:
        self.what = what
        self.weight = what.weight
        self.rng = Rng(seed ^ what.apart)


class _Mishap:
    """A mishap that `weight` of MISHAPS_OF operations of a kind meet; `apart` as of a weight."""

    def __init__(self, name: str, mishap: str, weight: i64) -> None:
        self.kind: i64 = _NUMBER_OF[name]
        self.mishap: i64 = operations.MISHAPS[mishap]
        self.weight = weight
        self.apart: i64 = stream(0, f"{name} meets {mishap}")


class _Met:
    """That mishap in one program, with the stream that it is drawn from."""

    def __init__(self, seed: i64, what: _Mishap) -> None:
        self.what = what
        self.rng = Rng(seed ^ what.apart)


class _Odds:
    """The numbers of a profile that every program asks for, as native ones: to read one from a Profile takes longer
    than to draw by it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.huge: i64 = profile.huge
        self.manual: i64 = profile.manual
        self.third_vcpu: i64 = profile.third_vcpu
        self.quirk: i64 = profile.quirk
        self.nested: i64 = profile.nested
        self.logging: i64 = profile.logging
        self.one_slot: i64 = profile.one_slot
        self.aligned: i64 = profile.aligned
        self.gmem: i64 = profile.gmem
        self.reads: i64 = profile.reads
        self.writes: i64 = profile.writes
        self.slots: i64 = profile.slots
        self.hot: i64 = profile.hot
        self.readonly: i64 = profile.readonly
        self.prefetch: i64 = profile.prefetch
        self.aging: i64 = profile.aging
        self.invalidation: i64 = profile.invalidation
        self.tracking: i64 = profile.tracking
        self.mishaps: i64 = profile.mishaps
        self.vcpu_ops: i64 = profile.vcpu_ops
        self.mm_threads: i64 = profile.mm_threads
        self.mm_ops: i64 = profile.mm_ops
        self.ioctls: i64 = profile.ioctls
        self.added = [_Weight(kind, weight) for kind, weight in profile.weights().items()]
        self.met = [_Mishap(name, mishap, weight) for name, mishap, weight in profile.met]


_ODDS: Final[dict[str, _Odds]] = {}


def odds_of(profile: Profile) -> _Odds:
    """The numbers of the profile, read once while it is the only one of its name that is drawn by."""
    odds = _ODDS.get(profile.name)
    if odds is None or odds.profile is not profile:
        odds = _ODDS[profile.name] = _Odds(profile)
    return odds


class _Builder:
    """The state of one generation: the stream, the configuration, the next uid."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.rng = Rng(seed)
        self.profile = profile
        self.odds = odds_of(profile)
        self.mishaps = self.rng
        if self.odds.mishaps != 0:  # a stream of its own, so that programs are the same without
            self.mishaps = Rng(stream(seed, "mishaps"))
        self.next_uid: i64 = 0
        self.calls: list[Call] = []  # of the actor in hand
        self.prefetch: i64 = self.odds.prefetch
        self.tracking: i64 = self.odds.tracking
        self.config = self.make_config()
        self.script = Script(self.config)
        slots = self.config.slots
        self.n_slots: i64 = len(slots)
        self.bases: vec[i64] = vec[i64]([slot.base for slot in slots])
        self.npages: vec[i64] = vec[i64]([slot.npages for slot in slots])
        self.hvas: vec[i64] = vec[i64]([slot.hva for slot in slots])
        self.hva_pages: i64 = self.config.hva_pages
        self.manual_protect = self.config.manual_protect
        self.nested: i64 = 0
        if self.odds.nested != 0 and self.config.nested:
            self.nested = self.odds.nested
        if architecture_name(self.config) != "x86":
            self.prefetch = 0
            self.tracking = 0
        self.added: list[_Added] = []
        for what in self.odds.added:
            if all(need.is_met(self.config) for need in what.kind.needs):
                self.added.append(_Added(seed, what))
        self.met = [_Met(seed, what) for what in self.odds.met]

    def coin(self) -> bool:
        """One half of the time."""
        return self.rng.chance(1, 2)

    def weighted(self, w0: i64, w1: i64, w2: i64 = 0, w3: i64 = 0, w4: i64 = 0, w5: i64 = 0) -> i64:
        """An index, drawn in proportion to the weights."""
        at = self.rng.below(w0 + w1 + w2 + w3 + w4 + w5)
        if at < w0:
            return 0
        if at < w0 + w1:
            return 1
        if at < w0 + w1 + w2:
            return 2
        if at < w0 + w1 + w2 + w3:
            return 3
        return 4 if at < w0 + w1 + w2 + w3 + w4 else 5

    def make_config(self) -> Config:
        rng = self.rng
        profile, odds = self.profile, self.odds
        mmu = profile.mmu[rng.below(len(profile.mmu))]
        blocks = _BLOCKS_MIN + rng.below(_BLOCKS_MAX - _BLOCKS_MIN + 1)
        backing = tuple(
            "thp" if rng.chance(odds.huge, _HUGE_OF) else profile.backings[rng.below(len(profile.backings))]
            for _ in range(blocks)
        )
        manual = rng.chance(odds.manual, _MANUAL_OF)
        paging = profile.paging[rng.below(len(profile.paging))]
        vcpus = 2 + int(rng.chance(odds.third_vcpu, _THIRD_VCPU_OF))
        slots = self.with_gmem(self.make_slots(blocks * _BLOCK_PAGES))
        return Config(
            mmu=mmu,
            paging=paging,
            vcpus=vcpus,
            slots=slots,
            backing=backing,
            eager_split=self.coin(),
            manual_protect=manual,
            initially_set=manual and self.coin(),
            zap_all_quirk=rng.chance(odds.quirk, _QUIRK_OF),
            prove_mmu=rng.chance(1, _PROVE_ONE_OF),
            word_gfns=self.word_gfns(slots),
            pml_entries=1 + rng.below(_PML_ENTRIES_MAX),
            nested=mmu == "tdp" and rng.chance(odds.nested, _NESTED_OF),
        )

    def word_gfns(self, slots: tuple[SlotConfig, ...]) -> int:
        """Pages of a word of the dirty bitmap: fewer where the slots would have words over three huge pages."""
        choice = self.profile.word_gfns
        drawn = choice[self.rng.below(len(choice))]
        return drawn if all(words_fit(slot, drawn, _BITS) for slot in slots) else min(choice)

    def make_slots(self, pages: int) -> tuple[SlotConfig, ...]:
        """One slot over everything, or two, with a base that need not be aligned."""
        rng = self.rng
        aligned = rng.chance(2, 3)
        base = _BLOCK_PAGES * rng.below(_BASE_BLOCKS) if aligned else rng.below(_BASE_PAGES)
        logging = rng.chance(self.odds.logging, _LOGGING_OF)
        if rng.chance(self.odds.one_slot, _ONE_SLOT_OF):
            return (SlotConfig(base=base, npages=pages, hva=0, logging=logging),)
        cut = _BLOCK_PAGES if rng.chance(self.odds.aligned, _ALIGNED_OF) else 1 + rng.below(pages - 1)
        gap = self.profile.gaps[rng.below(len(self.profile.gaps))]
        return (
            SlotConfig(base=base, npages=cut, hva=0, logging=logging),
            SlotConfig(base=base + cut + gap, npages=pages - cut, hva=cut),
        )

    def with_gmem(self, slots: tuple[SlotConfig, ...]) -> tuple[SlotConfig, ...]:
        """Give some memslots a guest_memfd, at an offset that need not be 0. These do not log."""
        if self.odds.gmem == 0:
            return slots
        made = []
        pgoff = 0
        for slot in slots:
            if self.rng.chance(self.odds.gmem, GMEM_OF):
                pgoff += self.rng.below(_GMEM_GAP_MAX + 1)
                slot = SlotConfig(slot.base, slot.npages, slot.hva, gmem=pgoff)
                pgoff += slot.npages
            made.append(slot)
        return tuple(made)

    # --- addresses ------------------------------------------------------------------------------------------

    def gfn(self) -> i64:
        """A gfn of a slot; often the first page of a slot, so that actors meet."""
        slot = self.rng.below(self.n_slots)
        if self.rng.chance(self.odds.hot, _HOT_OF):
            return self.bases[slot]
        return self.bases[slot] + self.rng.below(self.npages[slot])

    def page(self) -> i64:
        """What a guest access names."""
        return self.gfn()

    def hva(self) -> i64:
        slot = self.rng.below(self.n_slots)
        if self.rng.chance(self.odds.hot, _HOT_OF):
            return self.hvas[slot]
        return self.hvas[slot] + self.rng.below(self.npages[slot])

    def run_of(self, first: i64, limit: i64) -> i64:
        """How many pages from `first`: mostly few, never past `limit`."""
        return min(1 + self.rng.below(_RUN_PAGES_MAX), limit - first)

    def resched(self) -> i64:
        return self.rng.below(_RESCHED_MASKS) if self.coin() else 0

    # --- operations -----------------------------------------------------------------------------------------

    def add(self, kind: i64, a: i64, b: i64 = 0, c: i64 = 0, resched: i64 = 0) -> None:
        """The next operation of the actor in hand."""
        self.calls.append(Call(self.next_uid, kind, a, b, c, resched))
        self.next_uid += 1

    def vcpu_ops(self, count: i64) -> None:
        for _ in range(count):
            self.vcpu_op()

    def vcpu_op(self) -> None:
        kind = self.weighted(self.odds.reads, self.odds.writes, self.prefetch, self.nested)
        if kind == 0:
            gfn = self.gfn()
            self.add(operations.READ, gfn, flag(self.rng.chance(self.odds.readonly, _READONLY_OF)))
        elif kind == 1:
            self.add(operations.WRITE, self.gfn())
        elif kind == 2:
            gfn = self.gfn()
            fails = flag(self.rng.chance(1, _FAILS_ONE_OF))
            self.add(operations.PREFETCH, gfn, fails, flag(self.rng.chance(1, _WRITES_ONE_OF)))
        else:
            self.add(operations.NESTED, 0)

    def mm_op(self) -> None:
        if self.weighted(self.odds.aging, self.odds.invalidation) != 0:
            self.invalidation()
            return
        hva = self.hva()
        npages = self.run_of(hva, self.hva_pages)
        kind = self.rng.below(_AGES)
        if kind < _FLUSHES_YOUNG:
            self.add(operations.CLEAR_FLUSH_YOUNG, hva, npages)
        elif kind == _FLUSHES_YOUNG:
            self.add(operations.CLEAR_YOUNG, hva, npages)
        else:
            self.add(operations.TEST_YOUNG, hva)

    def invalidation(self) -> None:
        hva = self.hva()
        kind: i64 = _NUMBER_OF[self.profile.invalidations[self.rng.below(len(self.profile.invalidations))]]
        npages: i64 = 0
        if kind in _INVALIDATES_PAGES:
            npages = self.run_of(hva, self.hva_pages)
        elif kind in _INVALIDATES_FOR:
            npages = flag(self.coin())
        self.add(kind, hva if kind in _INVALIDATES_SOMEWHERE else 0, npages, resched=self.resched())

    def ioctl_ops(self, count: i64) -> None:
        """A plausible life of the slots: what makes no sense (GET of a slot that does not log) returns at once."""
        logging = [slot.logging for slot in self.config.slots]
        deleted = [False] * len(logging)
        for _ in range(count):
            number = self.slot_number()
            if deleted[number]:
                self.add(operations.CREATE_SLOT, number)
                deleted[number] = logging[number] = False
            elif self.weighted(self.odds.logging, self.odds.slots) == 1:
                deleted[number] = self.slot_op(number)
            elif not logging[number]:
                self.add(operations.ENABLE_LOG, number, resched=self.resched())
                logging[number] = True
            elif self.rng.chance(1, _LOG_ENDS_ONE_OF):
                self.add(operations.DISABLE_LOG, number, resched=self.resched())
                logging[number] = False
            else:
                self.harvest(number)

    def slot_number(self) -> i64:
        return self.rng.below(self.n_slots)

    def harvest(self, number: i64) -> None:
        if self.manual_protect and self.rng.chance(_CLEARS_BY_HAND, _HARVESTS):
            first = self.rng.below(self.npages[number])
            npages = 1 + self.rng.below(self.npages[number])
            self.add(operations.CLEAR_LOG, number, first, npages, self.resched())
        else:
            self.add(operations.GET_LOG, number, resched=self.resched())

    def slot_op(self, number: i64) -> bool:
        """True: the slot is gone."""
        kind = self.rng.below(_SLOT_CHANGES)
        if kind == 0:
            self.add(operations.DELETE_SLOT, number, resched=self.resched())
            return True
        if kind == 1:
            self.add(operations.CREATE_SLOT, number)
            return False
        base = self.bases[number] + _BLOCK_PAGES
        if base + self.npages[number] > bit_ull(self.config.bits * self.config.levels):
            base = 0
        self.add(operations.MOVE_SLOT, number, base, resched=self.resched())
        return False

    def device_op(self) -> None:
        gfn = self.gfn()
        kind = self.rng.below(_DEVICE_DOES)
        if kind < _TRACKS:
            self.add(operations.TRACK, gfn)
        elif kind == _TRACKS:
            self.add(operations.UNTRACK, gfn)
        else:
            npages = 1 + self.rng.below(_ZAP_PAGES_MAX)
            self.add(operations.ZAP_RANGE, gfn, npages, resched=self.resched())

    def end_actor(self, kind: str) -> None:
        """What is added from now on is the next actor's."""
        if self.odds.mishaps != 0 and kind == "vcpu":
            self.add_mishaps()
        for one in self.met:
            for call in self.calls:
                if call.kind == one.what.kind and one.rng.chance(one.what.weight, MISHAPS_OF):
                    call.mishaps |= one.what.mishap
        if self.added:
            self.add_more([added for added in self.added if added.what.actor == kind])
        self.script.add_actor(kind, self.calls)
        self.calls = []

    def add_mishaps(self) -> None:
        """Let some accesses of the actor in hand meet with one or more mishaps."""
        for call in self.calls:
            if call.kind in (operations.READ, operations.WRITE) and self.mishaps.chance(self.odds.mishaps, MISHAPS_OF):
                for mishap in _ANY_MISHAP:
                    if self.mishaps.chance(1, _MISHAP_ONE_OF):
                        call.mishaps |= mishap

    def add_more(self, added: list[_Added]) -> None:
        """Put other operations between those of the actor in hand, which stay as they are but for their uids."""
        calls = self.calls
        self.calls = []
        self.next_uid -= len(calls)
        for call in calls:
            for one in added:
                if one.rng.chance(one.weight, ADDED_OF):
                    self.add_drawn(one)
            call.uid = self.next_uid
            self.calls.append(call)
            self.next_uid += 1

    def add_drawn(self, one: _Added) -> None:
        """An operation by the types of its arguments alone."""
        rng, self.rng = self.rng, one.rng
        what = one.what
        values: dict[str, int] = {}
        room: i64 = 0  # pages from the last address on
        for field, argument in what.arguments:
            value: i64 = (
                1 + self.rng.below(min(_RUN_PAGES_MAX, room)) if argument is Argument.PAGES else self.drawn(argument)
            )
            if what.is_range and argument in STARTS:
                room = len(values_of(argument, self.config)) - value
            values[field] = value
        self.rng = rng
        self.calls.append(call_with(what.kind, self.next_uid, values))
        self.next_uid += 1

    def drawn(self, argument: Argument) -> i64:
        """A value of an argument, one at which actors meet where that can be said."""
        if argument is Argument.PAGE:
            return self.page()
        if argument is Argument.GFN:
            return self.gfn()
        if argument is Argument.HVA:
            return self.hva()
        if argument is Argument.SLOT:
            return self.slot_number()
        if argument is Argument.SLOT_PAGE:
            return self.rng.below(self.npages[0])
        if argument is Argument.RESCHED:
            return self.resched()
        if argument is Argument.MISHAP:
            return flag(self.rng.chance(1, _FAILS_ONE_OF))
        if argument is Argument.FLAG:
            return self.rng.below(2)
        values = values_of(argument, self.config)
        value: i64 = values[self.rng.below(len(values))]
        return value

    def make_script(self) -> Script:
        rng, odds = self.rng, self.odds
        for _ in range(self.config.vcpus):
            count = 2 + rng.below(odds.vcpu_ops - 1)
            self.vcpu_ops(count)
            self.end_actor("vcpu")
        if self.odds.aging + self.odds.invalidation != 0:
            for _ in range(1 if odds.mm_threads == 1 else 1 + rng.below(odds.mm_threads)):
                for _ in range(1 + rng.below(odds.mm_ops)):
                    self.mm_op()
                self.end_actor("mm")
        if rng.chance(self.odds.logging + self.odds.slots, _IOCTLS_OF):
            self.ioctl_ops(1 + rng.below(odds.ioctls))
            self.end_actor("ioctl")
            if rng.chance(1, _SECOND_IOCTL_ONE_OF):
                self.ioctl_ops(1 + rng.below(_SECOND_IOCTLS_MAX))
                self.end_actor("ioctl")
        if rng.chance(self.tracking, _TRACKING_OF):
            for _ in range(1 + rng.below(_DEVICE_OPS_MAX)):
                self.device_op()
            self.end_actor("device")
        return self.script


def flag(condition: bool) -> i64:
    return 1 if condition else 0


class _Stage2Builder(_Builder):
    """Machines of other architectures: what is x86's alone stays as it is by default, and is not drawn."""

    def make_config(self) -> Config:
        config = super().make_config()
        arch = self.profile.arch[self.rng.below(len(self.profile.arch))]
        flavours = self.profile.flavours
        return replace(
            config,
            **_X86_ALONE,
            arch=arch,
            hardware_young=self.rng.chance(_SETS_YOUNG, _WALKERS) and arch not in _YOUNG_BY_KVM,
            flavour=flavours[self.rng.below(len(flavours))] if flavours else config.flavour,
        )


class _ApicPageBuilder(_Builder):
    """Machines with an APIC access page, in a block of memory of its own, which is as hot as the guest's."""

    def make_config(self) -> Config:
        config = super().make_config()
        rng = self.rng
        fresh: Backing = "untouched" if rng.chance(_FRESH, _APIC_PAGES) else "anon"
        end = max(slot.base + slot.npages for slot in config.slots)
        apic_page = SlotConfig(base=end + _BLOCK_PAGES, npages=1, hva=config.hva_pages)
        return replace(config, backing=(*config.backing, fresh), apic_page=apic_page)

    def hva(self) -> i64:
        apic_page = self.config.apic_access_page
        assert apic_page is not None
        return apic_page.hva if self.rng.chance(self.odds.hot, _HOT_OF) else super().hva()

    def vcpu_ops(self, count: i64) -> None:
        """Creation comes first."""
        self.add(operations.CREATE_LAPIC, 0)
        super().vcpu_ops(count)

    def vcpu_op(self) -> None:
        others = self.odds.reads + self.odds.writes + self.prefetch + self.nested
        if self.weighted(others, self.profile.apic) == 0:
            super().vcpu_op()
        else:
            self.add(operations.ACCESS_APIC, 0)


class _GiganticBuilder(_Builder):
    """Machines with pages of 1G. Tables have two entries, so that those are of four pages, and memory as large as in
    other profiles."""

    def make_config(self) -> Config:
        config = super().make_config()
        backing: list[Backing] = []
        for kind in config.backing:
            gigantic = kind == "thp" and self.rng.chance(self.profile.gigantic, GIGANTIC_OF)
            backing += ["hugetlb" if gigantic else kind] * _GIGANTIC_BLOCKS
        fits = all(words_fit(slot, config.word_gfns, _GIGANTIC_BITS) for slot in config.slots)
        return replace(
            config,
            bits=_GIGANTIC_BITS,
            levels=_GIGANTIC_LEVELS,
            backing=tuple(backing),
            word_gfns=config.word_gfns if fits else _GIGANTIC_BLOCKS,
            gigantic=True,
        )

    def resched(self) -> i64:
        """Often all the time."""
        drawn = super().resched()
        return drawn | operations.RESCHED_LASTS if drawn != 0 and self.coin() else drawn

    def end_actor(self, kind: str) -> None:
        for call in self.calls:
            if call.kind in _SPLITTING and self.rng.chance(1, _NO_MEMORY_ONE_OF):
                call.mishaps |= operations.MISHAP_NO_MEMORY
        super().end_actor(kind)


class _GuestTablesBuilder(_Builder):
    """Guests with page tables of their own: few of them, each mapped somewhere, so that vCPUs rewrite what the others
    walk. Every table and every virtual page in use is among the first of its kind."""

    def make_config(self) -> Config:
        rng = self.rng
        config = super().make_config()
        levels = 3 if rng.chance(self.profile.guest_roots, _THREE_LEVELS_OF) else 2
        size = int(bit_ull(config.bits))
        # Slots that fit, and gfns that no two levels of paging reach, stay as in other profiles.
        self.gfns = len(config.backing) * size
        slots = self.guest_slots(config.slots[0].logging)
        self.tables = self.table_gfns(levels + self.profile.guest_roots, slots[0].npages)
        self.roots = [self.tables[0], *self.tables[levels + 1 :]]
        self.table_pages: list[int] = []  # virtual pages at which the guest sees a table
        self.recursive_pages = range(0)  # those that a root translates through itself
        self.ptes = self.make_ptes(levels, size)
        return replace(
            config,
            mmu="shadow",
            paging="npt" if self.coin() else config.paging,
            levels=levels,
            slots=slots,
            nested=False,
            guest_paging=GuestPaging(self.tables[0], (*self.ptes, *self.shared_ptes(levels, size))),
        )

    def guest_slots(self, logging: bool) -> tuple[SlotConfig, ...]:
        """One slot, or one that can go, often with no more than the root table, while the guest runs on in the
        other."""
        if self.profile.guest_roots == 1:
            return (SlotConfig(base=0, npages=self.gfns, hva=0, logging=logging),)
        cut = 1 if self.coin() else 1 + self.rng.below(self.gfns - 1)
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
            if self.rng.chance(1, _ROOT_WITH_OTHERS_ONE_OF):
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
        if ptes and self.coin():
            ptes.append(self.make_pte(self.tables[0], size - 1, self.tables[0]))
            self.recursive_pages = range((size - 1) * size ** (levels - 1), size**levels)
        return ptes

    def make_pte(self, table: int, index: int, gfn: int) -> GuestPte:
        """An entry as a guest's kernel makes them: mostly usable, and used before."""
        rng = self.rng
        return GuestPte(
            table,
            index,
            gfn,
            writable=rng.chance(7, 8),
            executable=rng.chance(3, 4),
            accessed=rng.chance(3, 4),
            dirty=self.coin(),
        )

    def page(self) -> i64:
        """A virtual page, most often one that is mapped at the start, and no table."""
        if self.rng.chance(self.odds.hot, _HOT_OF):
            return self.hot_page
        if self.recursive_pages and self.rng.chance(1, _RECURSIVE_ONE_OF):
            return self.recursive_pages[self.rng.below(len(self.recursive_pages))]
        if self.rng.chance(1, _FAR_ONE_OF):
            return self.rng.below(bit_ull(self.config.bits + 1))
        return self.rng.below(bit_ull(self.config.bits))

    def resched(self) -> i64:
        """Often everywhere: there are too few shadow pages for one region to come up at the right moment."""
        return _RESCHED_MASKS - 1 if self.coin() else super().resched()

    def vcpu_ops(self, count: i64) -> None:
        """With several roots, as of processes, the vCPUs do not all begin with the same one."""
        if len(self.roots) != 1:
            self.add(operations.LOAD_CR3, self.roots[self.rng.below(len(self.roots))])
        super().vcpu_ops(count)

    def vcpu_op(self) -> None:
        rng = self.rng
        tables: i64 = self.profile.guest_tables
        flush = tables // 2
        load = flush // 2 if len(self.roots) == 1 else tables
        kind = self.weighted(self.odds.reads, self.odds.writes, self.prefetch, tables, flush, load)
        if kind == 0:
            page = self.page()
            self.add(operations.READ, page, flag(rng.chance(1, _FAILS_ONE_OF)))
        elif kind == 1:
            self.add(operations.WRITE, self.page())
        elif kind == 2:
            page = self.page()
            fails = flag(rng.chance(1, _FAILS_ONE_OF))
            self.add(operations.PREFETCH, page, fails, flag(rng.chance(1, _WRITES_ONE_OF)))
        elif kind == 3:
            self.write_pte()
        elif kind == 4 and self.config.paging == "npt":
            self.add(operations.INVLPG, self.page())
        else:
            table = (
                self.roots[rng.below(len(self.roots))] if rng.chance(5, 6) else self.tables[rng.below(len(self.tables))]
            )
            self.add(operations.LOAD_CR3, table)

    def slot_number(self) -> i64:
        """Mostly the one that can go."""
        return 0 if self.coin() else super().slot_number()

    def slot_op(self, number: i64) -> bool:
        """Most often what takes page tables away: with two slots end to end there is hardly room for a move."""
        if self.coin():
            self.add(operations.DELETE_SLOT, number, resched=self.resched())
            return True
        return super().slot_op(number)

    def write_pte(self) -> None:
        """Mostly other rights for what an entry points to already: then the SPTE may stay and be rewritten."""
        rng = self.rng
        ptes = self.hot_ptes if self.hot_ptes and rng.chance(self.odds.hot, _HOT_OF) else self.ptes
        pte = ptes[rng.below(len(ptes))]
        table, index, target = self.tables.index(pte.table), pte.index, pte.gfn
        if rng.chance(1, _RETARGETS_ONE_OF):
            target = rng.below(self.gfns)
        elif rng.chance(1, _CLEARS_ONE_OF):
            target = -1
        # Rights are mostly there: without them little can be done with the page, and little be seen.
        stored = i64(target + 1) << operations.STORED_SHIFT
        if rng.chance(3, 4):
            stored |= operations.STORED_WRITABLE
        if rng.chance(3, 4):
            stored |= operations.STORED_EXECUTABLE
        if rng.chance(5, 6):
            stored |= operations.STORED_ACCESSED
        if rng.chance(3, 4):
            stored |= operations.STORED_DIRTY
        self.add(operations.WRITE_PTE, self.table_pages[table], index, stored)


def generate_script(seed: int, profile: Profile) -> Script:
    """The program of a seed as machines run it: a pure function of both arguments."""
    chosen = member(seed, profile)
    script = _script(seed, chosen)
    script.profile = chosen.name
    return script


def _script(seed: int, profile: Profile) -> Script:
    if profile.mixes:
        drawn = Rng(stream(seed, "profile")).below(2 * len(profile.mixes))
        if drawn < len(profile.mixes):
            profile = PROFILES[profile.mixes[drawn]]
    if profile.guest_tables:
        return _GuestTablesBuilder(seed, profile).make_script()
    if profile.gigantic:
        return _GiganticBuilder(seed, profile).make_script()
    if profile.apic:
        return _ApicPageBuilder(seed, profile).make_script()
    if profile.arch != ("x86",):
        return _Stage2Builder(seed, profile).make_script()
    return _Builder(seed, profile).make_script()


def generate(seed: int, profile: Profile) -> Program:
    """The program of a seed, written down."""
    return generate_script(seed, profile).program()
