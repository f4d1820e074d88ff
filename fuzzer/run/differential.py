# SPDX-License-Identifier: GPL-2.0-only
"""What two models that ran the same program did differently, in the closed vocabulary of effects.

Raw results are compared per operation and only where the two runs were the same interleaving: operations complete in
both before the drift, the one in which it began, and what the others had recorded by then.  Of an operation only the
first differing event counts, written old -> new; what follows is its consequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from mypy_extensions import i64

from fuzzer.oracle.host_rights import may_write
from fuzzer.run.divergence import WHOLE_RUN, Divergence
from fuzzer.run.execute import Execution
from fuzzer.run.lockstep import Pair
from reference_mmu.changelog.effects import OUTCOMES, Counted, Effect, fewer, instead, more
from reference_mmu.kvm.observer import LEAF_ACCESSED, LEAF_DIRTY, LEAF_ELSE
from reference_mmu.kvm.page_table import PageTable
from reference_mmu.kvm.vm import Vm
from reference_mmu.observed import (
    COUNT_ACCESSED_MARKS,
    COUNT_CHANGES,
    COUNT_CHECKS,
    COUNT_DIRTY_MARKS,
    COUNT_GUP,
    COUNT_PAGE_LOOKUPS,
    COUNT_PAGE_REFERENCES,
    COUNT_PML,
    COUNT_VISITS,
    EV_ERRNO,
    EV_FLUSH,
    EV_HARVEST,
    EV_MAP,
    EV_PF,
    EV_READ,
    EV_SHIFT,
    EV_WARN,
    EV_YOUNG,
    MAP_PINNED,
    MAP_REFUSED,
    PF_ERROR,
    PF_FAST,
    PF_FIXED,
    PF_READ_ONLY,
    PF_RETRY,
    PF_SPURIOUS,
)

_COUNTERS: Final[tuple[tuple[int, Counted], ...]] = (
    (COUNT_CHECKS, "checks"),
    (COUNT_VISITS, "visits"),
    (COUNT_CHANGES, "spte-changes"),
    (COUNT_PML, "pml-entries"),
    (COUNT_ACCESSED_MARKS, "accessed-marks"),
    (COUNT_DIRTY_MARKS, "dirty-marks"),
    (COUNT_GUP, "gup-calls"),
    (COUNT_PAGE_REFERENCES, "page-references"),
    (COUNT_PAGE_LOOKUPS, "page-lookups"),
)

_VALUE: Final = (1 << EV_SHIFT) - 1
_OUTCOME: Final = PF_READ_ONLY - 1
_PF: Final = EV_PF << EV_SHIFT

_LEAF_EFFECTS: Final[tuple[tuple[int, Effect], ...]] = (
    (LEAF_ACCESSED, "raw-accessed-bit"),
    (LEAF_DIRTY, "raw-dirty-bit"),
    (LEAF_ELSE, "mapping-differs"),
)


def divergences(pair: Pair, old_leads: bool) -> list[Divergence]:
    """Every effect of a finished pair with every operation that showed it, in the order of uids. Where a load of one of
    them found what is not in memory, that is a violation, and judged as one."""
    old, new = (pair.leader, pair.follower) if old_leads else (pair.follower, pair.leader)
    if pair.truncated and pair.drift_turn < 0:
        return []
    found: list[Divergence] = []
    for number in range(len(pair.comparable)):
        if pair.comparable[number] == 0 or not pair.differs(number):
            continue
        uid = int(number)
        if pair.drift_turn >= 0 and pair.turns.uid(pair.drift_turn) == number:
            effects = compare_drifted(pair, old.m, new.m, uid, old_leads)
        else:
            effects = compare_operation(old.m, new.m, uid)
        for effect in effects:
            found.append(Divergence(effect, uid))
    for uid, lengths in pair.prefixes.items():
        old_length, new_length = lengths if old_leads else lengths[::-1]
        index, was, now = difference(old.m.observed.events(uid)[:old_length], new.m.observed.events(uid)[:new_length])
        if index >= 0 and not is_yet_to_come(was, now):
            for effect in event_effects(was, now):
                found.append(Divergence(effect, uid))
    for effect, uid in new.judge.facts.items():
        if effect not in old.judge.facts:
            found.append(Divergence(effect, uid))
    if pair.drift_turn < 0:
        for effect in compare_final(old, new):
            found.append(Divergence(effect, WHOLE_RUN))
    strays = old.judge.contents.strays | new.judge.contents.strays
    return [one for one in found if one.effect != "read-differs" or one.uid not in strays] if strays else found


def difference(before: list[int], after: list[int]) -> tuple[int, int, int]:
    """(index, old event, new event) of the first difference, an event of 0 for none; index -1: no difference."""
    if before == after:
        return -1, 0, 0
    for index in range(max(len(before), len(after))):
        was = before[index] if index < len(before) else 0
        now = after[index] if index < len(after) else 0
        if was != now:
            return index, was, now
    return -1, 0, 0


def where_they_differ(old: Vm, new: Vm, uid: int) -> tuple[int, int, int]:
    """difference() of an operation. An access that ends in an error on one side alone ends otherwise, whatever the
    handler of the other flushes on its way."""
    before, after = old.observed.events(uid), new.observed.events(uid)
    index, was, now = difference(before, after)
    if PF_ERROR in (was - _PF, now - _PF):
        was, now = past_flushes(before[index:]), past_flushes(after[index:])
    return index, was, now


def past_flushes(events: list[int]) -> int:
    """The first event that is no flush, 0 if there is none."""
    return next((event for event in events if event >> EV_SHIFT != EV_FLUSH), 0)


def is_yet_to_come(was: int, now: int) -> bool:
    """Has one of two operations that are under way asked for a map that the other may still ask for? Where an operation
    maps several pages, positions do not tell which of them is next."""
    return 0 in (was, now) and EV_MAP in (was >> EV_SHIFT, now >> EV_SHIFT)


def compare_operation(old: Vm, new: Vm, uid: int) -> list[Effect]:
    """The effects by which an operation differs that both completed before the drift: the first event, or if all
    events agree, what it cost."""
    index, was, now = where_they_differ(old, new, uid)
    if index >= 0:
        return event_effects(was, now)
    effects: list[Effect] = []
    for counter, counted in _COUNTERS:
        was = int(old.observed.counted(uid, counter))
        now = int(new.observed.counted(uid, counter))
        if was != now:
            effects.append(fewer(counted) if now < was else more(counted))
    return effects


def compare_drifted(pair: Pair, old: Vm, new: Vm, uid: int, old_leads: bool) -> list[Effect]:
    """The effects by which the operation differs in which the drift began: what was recorded by then, and the outcome
    of the fault in which it began. Later events, and a plain RETRY, belong to interleavings that are no longer the
    same."""
    index, was, now = where_they_differ(old, new, uid)
    if index < 0:
        return []
    kinds = (was >> EV_SHIFT, now >> EV_SHIFT)
    recorded = pair.drift_events if old_leads else pair.drift_events[::-1]
    if EV_FLUSH in kinds or EV_WARN in kinds:
        told = [index < by_then for kind, by_then in zip(kinds, recorded, strict=True) if kind in (EV_FLUSH, EV_WARN)]
        # What came after the drift counts only if it came next, with nobody in between.
        known = all(told) or (index < max(recorded) and goes_on_at_once(pair, uid))
        return event_effects(was, now) if known else []
    if kinds == (EV_PF, EV_PF):
        values = (was & _OUTCOME, now & _OUTCOME)
        same_fault = pair.drift_in_fault and index <= max(recorded)
        return event_effects(was, now) if same_fault and PF_RETRY not in values else []
    if EV_PF in kinds and pair.drift_completed:
        # One hit its TLB and was done, the other faulted. How that ended counts only if nobody came in between.
        outcome = (was if was >> EV_SHIFT == EV_PF else now) & _OUTCOME
        return event_effects(was, now) if outcome in (PF_FIXED, PF_FAST, PF_SPURIOUS) else []
    return []


def goes_on_at_once(pair: Pair, uid: int) -> bool:
    """Does the operation in which the drift began have the next turn?"""
    following = int(pair.drift_turn) + 1
    return following < len(pair.turns) and pair.turns.uid(following) == uid


def event_effects(was: int, now: int) -> list[Effect]:
    """event_effect(), as a list: a difference that has no name of its own is none."""
    effect = event_effect(was, now)
    return [effect] if effect else []


def event_effect(was: int, now: int) -> Effect | Literal[""]:
    """Name the change from one event to another (0: the operation had no further event), "" if it has no name."""
    was_kind, now_kind = was >> EV_SHIFT, now >> EV_SHIFT
    was_value, now_value = was & _VALUE, now & _VALUE
    if EV_WARN in (was_kind, now_kind):
        return "new-warning" if now_kind == EV_WARN else "warning-gone"
    if EV_FLUSH in (was_kind, now_kind):
        return more("flushes") if now_kind == EV_FLUSH else fewer("flushes")
    if EV_PF in (was_kind, now_kind):
        return fault_effect(was_value if was_kind == EV_PF else 0, now_value if now_kind == EV_PF else 0)
    if EV_YOUNG in (was_kind, now_kind):
        return "young-false-negative" if was_value else "young-false-positive"
    if EV_HARVEST in (was_kind, now_kind):
        return harvest_effect(was if was_kind == EV_HARVEST else 0, now if now_kind == EV_HARVEST else 0)
    if EV_ERRNO in (was_kind, now_kind):
        return "errno-differs"
    if EV_MAP in (was_kind, now_kind):
        return map_effect(
            was_value if was_kind == EV_MAP else MAP_REFUSED, now_value if now_kind == EV_MAP else MAP_REFUSED
        )
    return "read-differs" if EV_READ in (was_kind, now_kind) else ""


def fault_effect(was: int, now: int) -> Effect:
    """Name the change from one fault outcome (PF_*, 0 for no fault) to another. That a fault stores anew what the guest
    may only read says nothing of racing writers, so it goes by a name of its own."""
    if was & now & PF_READ_ONLY:
        return "read-only-rewritten" if now & _OUTCOME == PF_FIXED else "read-only-kept"
    was_outcome, now_outcome = OUTCOMES[was & _OUTCOME], OUTCOMES[now & _OUTCOME]
    return instead(now_outcome, was_outcome) if was_outcome != now_outcome else "mapping-differs"


def map_effect(was: int, now: int) -> Effect | Literal[""]:
    """Name the change from one answer to a wish for a map, MAP_*, to another. Who did not ask counts as refused; that
    the other one was has no name, since why it asked is what differs. A pin that is gone has none either."""
    if now == MAP_REFUSED:
        return "map-refused" if was != MAP_REFUSED else ""
    if was == MAP_REFUSED:
        return "map-granted"
    return "pinned-map" if now == MAP_PINNED and was != MAP_PINNED else ""


def harvest_effect(was: int, now: int) -> Effect:
    """Which of two reported words has a gfn the other lacks; a word only one reports counts whole."""
    low = (1 << 32) - 1
    if was >> 32 == now >> 32:
        return fewer("dirty-reports") if was & low & ~now else more("dirty-reports")
    if was == 0 or now == 0:
        return fewer("dirty-reports") if was else more("dirty-reports")
    # Words come in order: the one with the smaller offset is missing in the other.
    return fewer("dirty-reports") if was < now else more("dirty-reports")


def compare_final(old: Execution, new: Execution) -> list[Effect]:
    """Effects visible in the state at the end of two runs that never drifted."""
    effects: list[Effect] = []
    for hva in range(old.m.host.n):
        if contents_differ(old.m, new.m, hva):
            effects.append("memory-differs")
            break
    for hva in range(old.m.host.n):
        if host_flags(old.m, hva) != host_flags(new.m, hva):
            effects.append("host-flags-differ")
            break
    for hva in range(old.m.host.n):
        if old.m.host.pte[hva] != new.m.host.pte[hva]:
            effects.append("host-pages-differ")
            break
    if references_differ(old.m, new.m):
        effects.append("page-references-differ")
    effects.extend(compare_tables(old.m, new.m))
    return effects


def contents_differ(old: Vm, new: Vm, hva: i64) -> bool:
    """Did the guest leave something else at an address? Where one of them lost what it wrote, that is a violation, and
    judged as one."""
    was, now = old.host, new.host
    if was.contents(hva) == now.contents(hva):
        return False
    return was.contents(hva) == was.reference[hva] and now.contents(hva) == now.reference[hva]


def contents_of_both(old: Vm, new: Vm) -> Iterator[tuple[int, int]]:
    """What the guest left at each address where that differs."""
    for hva in range(old.host.n):
        if contents_differ(old, new, hva):
            yield int(old.host.contents(hva)), int(new.host.contents(hva))


def stamps_read(old: Vm, new: Vm, uid: int) -> tuple[int, int]:
    """What an operation read in both where it first did something else."""
    _, was, now = difference(old.observed.events(uid), new.observed.events(uid))
    return was & _VALUE, now & _VALUE


def host_flags(m: Vm, hva: i64) -> i64:
    """Host PTE flags, and PG_dirty above them. Accessed counts are too loose to compare."""
    host = m.host
    pfn = host.pte[hva] if host.pte[hva] >= 0 else host.swap_cache[hva]
    dirty: i64 = 1 if pfn >= 0 and host.folio(pfn).dirty else 0
    return host.flags[hva] | dirty << 32


def references_differ(old: Vm, new: Vm) -> bool:
    """Does KVM hold more references to a page in one of them? What the host holds shows in what it maps. A page that
    only one has is younger than what made them differ."""
    was, now = old.host.pages, new.host.pages
    return any(was[pfn].kvm_refs != now[pfn].kvm_refs for pfn in range(min(len(was), len(now))))


def compare_tables(old: Vm, new: Vm) -> list[Effect]:
    """Compare the leaves of the valid roots, slot by slot."""
    effects: list[Effect] = []
    if same_tables(old, new):
        return effects
    old_roots = [root for root in old.roots() if not old.invalid(root)]
    new_roots = [root for root in new.roots() if not new.invalid(root)]
    if len(old_roots) != len(new_roots):
        return ["mapping-differs"]
    for was, now in zip(old_roots, new_roots, strict=True):
        for page in old.pages():
            for effect in compare_leaf(old, was, new, now, page):
                if effect not in effects:
                    effects.append(effect)
    return effects


def same_tables(old: Vm, new: Vm) -> bool:
    """Are all page tables, and which of them are roots, the same?"""
    old_tables, new_tables = old.tables(), new.tables()
    if len(old_tables) != len(new_tables):
        return False
    for number in range(len(old_tables)):
        was, now = old_tables[number], new_tables[number]
        if old.invalid(was) != new.invalid(now) or was.freed != now.freed:
            return False
        for index in range(old.entries):
            if was.spt[index] != now.spt[index]:
                return False
    old_roots, new_roots = old.roots(), new.roots()
    if len(old_roots) != len(new_roots):
        return False
    return all(old_roots[number].pt == new_roots[number].pt for number in range(len(old_roots)))


def follow_hosts(old: Vm, was: i64, new: Vm, now: i64) -> bool:
    """Two pages that leaves map: is each what the host has at one and the same address? If they differ, it is the
    host's pages that differ: another effect."""
    hva = old.host.pages[was].hva
    if hva < 0 or new.host.pages[now].hva != hva:
        return False
    return old.host.pte[hva] == was and new.host.pte[hva] == now


def levels_follow_hosts(old: Vm, was: i64, new: Vm, now: i64) -> bool:
    """Two pages that leaves of different levels map: is each what the host has there, as a huge page in one of them
    alone?"""
    if not follow_hosts(old, was, new, now):
        return False
    hva = old.host.pages[was].hva
    return old.host.mapping_level(hva) != new.host.mapping_level(hva)


def compare_leaf(old: Vm, old_root: PageTable, new: Vm, new_root: PageTable, page: int) -> list[Effect]:
    """Differences of a page that both map."""
    was, was_level = old.leaf_of(old_root, page)
    now, now_level = new.leaf_of(new_root, page)
    if was == now or was_level == 0 or now_level == 0:
        return []
    was_pfn, now_pfn = old.pfn_in_leaf(was, was_level, page), new.pfn_in_leaf(now, now_level, page)
    if was_level != now_level:
        return [] if levels_follow_hosts(old, was_pfn, new, now_pfn) else ["mapping-differs"]
    if was_pfn != now_pfn:
        return [] if follow_hosts(old, was_pfn, new, now_pfn) else ["mapping-differs"]
    difference = old.leaf_difference(was, new, now)
    if difference & LEAF_ELSE and rights_follow_hosts(old, was, new, now, int(was_pfn)):
        difference &= ~LEAF_ELSE
    return [effect for bit, effect in _LEAF_EFFECTS if difference & bit]


def rights_follow_hosts(old: Vm, was: i64, new: Vm, now: i64, pfn: int) -> bool:
    """May the process write the page in one of them only, and the guest nowhere else? Then it is the host's flags that
    differ: another effect."""
    hva = old.host.pages[pfn].hva
    if hva < 0 or old.host.pte[hva] != pfn or new.host.pte[hva] != pfn:
        return False
    old_may, new_may = may_write(old, hva), may_write(new, hva)
    if old_may == new_may:
        return False
    return not (new.pte_may_write(now) if old_may else old.pte_may_write(was))
