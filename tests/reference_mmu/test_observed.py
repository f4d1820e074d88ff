# SPDX-License-Identifier: GPL-2.0-only
"""What operations did: kept in order, by operation, and held against what they did elsewhere."""

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_mmu import observed
from reference_mmu.changelog.effects import OUTCOMES
from reference_mmu.observed import Observed

Event = tuple[int, int]  # kind, value
Recorded = list[tuple[int, Event]]  # by operation

COUNTERS = [int(number) for name, number in vars(observed).items() if name.startswith("COUNT_")]
OPERATIONS = 3
KINDS = (observed.EV_PF, observed.EV_FLUSH, observed.EV_READ, observed.EV_YOUNG, observed.EV_HARVEST, observed.EV_WARN)
EVENTS = st.tuples(st.sampled_from(KINDS), st.one_of(st.integers(0, 3), st.integers(0, 2**32 - 1)))
RECORDED = st.lists(st.tuples(st.integers(0, OPERATIONS - 1), EVENTS), max_size=12)


def filled(recorded: Recorded) -> Observed:
    found = Observed(OPERATIONS)
    for uid, (kind, value) in recorded:
        found.record(uid, kind, value)
    return found


def of(uid: int, *events: Event) -> Observed:
    return filled([(uid, event) for event in events])


def numbers(recorded: Recorded, uid: int) -> list[int]:
    return [kind << observed.EV_SHIFT | value for other, (kind, value) in recorded if other == uid]


# --- kept ------------------------------------------------------------------------------------------------------


@given(RECORDED)
def test_events_are_kept_in_order_and_by_operation(recorded: Recorded) -> None:
    found = filled(recorded)
    assert found.all_events() == [numbers(recorded, uid) for uid in range(OPERATIONS)]
    assert [found.events(uid) for uid in range(OPERATIONS)] == found.all_events()
    assert [int(n) for n in found.n_events] == [len(events) for events in found.all_events()]


@given(st.lists(st.tuples(st.integers(0, OPERATIONS - 1), st.sampled_from(COUNTERS))))
def test_each_counter_of_each_operation_counts_for_itself(counts: list[tuple[int, int]]) -> None:
    found = Observed(OPERATIONS)
    for uid, counter in counts:
        found.count(uid, counter)
    for uid, counter in product(range(OPERATIONS), COUNTERS):
        assert found.counted(uid, counter) == counts.count((uid, counter))
        assert found.counters[uid * observed.OP_COUNTERS + counter] == counts.count((uid, counter))


def test_no_two_counters_share_a_place() -> None:
    assert sorted(COUNTERS) == list(range(observed.OP_COUNTERS))


def test_nothing_was_done_before_anything_was() -> None:
    found = Observed(2)
    assert found.all_events() == [[], []]
    assert found.same(Observed(2), 0)
    assert Observed(0).all_events() == []


# --- the same in both ------------------------------------------------------------------------------------------


@given(RECORDED, RECORDED)
def test_the_same_is_what_has_the_same_events(here: Recorded, there: Recorded) -> None:
    """In whichever order those of different operations came."""
    for uid in range(OPERATIONS):
        assert filled(here).same(filled(there), uid) == (numbers(here, uid) == numbers(there, uid))


@given(RECORDED, st.randoms(use_true_random=False))
def test_what_others_did_in_between_says_nothing(recorded: Recorded, order: object) -> None:
    """Operations one after the other, against all of them mixed."""
    sorted_by_operation = sorted(recorded, key=lambda item: item[0])
    for uid in range(OPERATIONS):
        assert filled(recorded).same(filled(sorted_by_operation), uid)


def test_equal_events_are_the_same() -> None:
    events = ((observed.EV_PF, observed.PF_FIXED), (observed.EV_FLUSH, 0), (observed.EV_READ, 5))
    assert of(1, *events).same(of(1, *events), 1)


@pytest.mark.parametrize(
    "other",
    [
        [(observed.EV_PF, observed.PF_FAST), (observed.EV_FLUSH, 0)],
        [(observed.EV_PF, observed.PF_FIXED), (observed.EV_WARN, 0)],
        [(observed.EV_FLUSH, 0), (observed.EV_PF, observed.PF_FIXED)],
        [(observed.EV_PF, observed.PF_FIXED)],
        [(observed.EV_PF, observed.PF_FIXED), (observed.EV_FLUSH, 0), (observed.EV_FLUSH, 0)],
        [],
    ],
    ids=["another value", "another kind", "another order", "fewer", "more", "none"],
)
def test_other_events_are_not_the_same(other: list[Event]) -> None:
    here, there = of(1, (observed.EV_PF, observed.PF_FIXED), (observed.EV_FLUSH, 0)), of(1, *other)
    assert not here.same(there, 1)
    assert not there.same(here, 1)
    assert here.same(there, 0)  # which did nothing in either


@pytest.mark.parametrize("counter", COUNTERS)
def test_another_cost_is_not_the_same(counter: int) -> None:
    here, there = of(1, (observed.EV_FLUSH, 0)), of(1, (observed.EV_FLUSH, 0))
    there.count(1, counter)
    assert not here.same(there, 1)
    assert here.same(there, 0)
    assert here.same(there, 2)
    here.count(1, counter)
    assert here.same(there, 1)


def test_no_two_events_are_taken_for_each_other() -> None:
    """What an operation with a single event may have done: every outcome of a fault, stamps, sets of dirty pages."""
    outcomes = {
        outcome | read_only for outcome in range(1, len(OUTCOMES)) for read_only in (0, int(observed.PF_READ_ONLY))
    }
    events = {(int(observed.EV_PF), outcome) for outcome in outcomes}
    events |= {(int(kind), value) for kind in (observed.EV_READ, observed.EV_HARVEST) for value in range(64)}
    events |= {
        (int(observed.EV_YOUNG), 0),
        (int(observed.EV_YOUNG), 1),
        (int(observed.EV_FLUSH), 0),
        (int(observed.EV_WARN), 0),
    }
    seen = [of(0, event) for event in sorted(events)]
    assert not any(here.same(there, 0) for here, there in combinations(seen, 2))


@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_every_place_of_an_event_counts(length: int) -> None:
    """Of up to four events each of three kinds."""
    some = ((observed.EV_FLUSH, 0), (observed.EV_PF, observed.PF_SPURIOUS), (observed.EV_READ, 0))
    seen = [of(0, *events) for events in product(some, repeat=length)]
    assert not any(here.same(there, 0) for here, there in combinations(seen, 2))
