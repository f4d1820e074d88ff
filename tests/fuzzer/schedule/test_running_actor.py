# SPDX-License-Identifier: GPL-2.0-only
"""An actor in the middle of its operations: its position, and what it will start next."""

from itertools import product

import pytest

from fuzzer.schedule.running_actor import Flow, RunningActor
from reference_mmu.operations import CLEAR_YOUNG, READ, WRITE, Call
from reference_mmu.points import END, FAULT_ENTER
from reference_mmu.x86.points import FAULT_EXIT, FAULT_SEQ, POINTS, WALK_LEAF, WALK_TABLE


def two_operations(*points: int) -> RunningActor:
    """One that has come to these points of its first operation."""
    actor = RunningActor(2, [Call(3, READ, 1), Call(7, WRITE, 1)], POINTS)
    for point in points:
        actor.come_to(point)
    return actor


def position(actor: RunningActor) -> tuple[int, ...]:
    return int(actor.place), int(actor.faults), int(actor.lap), int(actor.at)


def test_it_begins_before_its_first_operation() -> None:
    actor = two_operations()
    assert actor.uid == 3
    assert position(actor) == (0, 0, 0, END)
    assert actor.flow is None


def test_one_without_operations_has_finished() -> None:
    assert RunningActor(0, [], POINTS).uid == -1


def test_a_lap_ends_when_the_rank_does_not_grow() -> None:
    actor = two_operations()
    laps = []
    for point in (WALK_TABLE, WALK_TABLE, WALK_LEAF, WALK_TABLE, WALK_LEAF):
        actor.come_to(point)
        assert actor.at == point
        laps.append(int(actor.lap))
    assert laps == [0, 1, 1, 2, 2]
    assert actor.faults == 0


def test_a_fault_begins_its_laps_anew() -> None:
    actor = two_operations()
    positions = []
    for point in (WALK_LEAF, WALK_LEAF, FAULT_ENTER, FAULT_SEQ, FAULT_EXIT, WALK_LEAF, FAULT_ENTER):
        actor.come_to(point)
        positions.append(position(actor))
    assert positions == [
        (0, 0, 0, WALK_LEAF),
        (0, 0, 1, WALK_LEAF),
        (0, 1, 0, FAULT_ENTER),
        (0, 1, 0, FAULT_SEQ),
        (0, 1, 0, FAULT_EXIT),
        (0, 1, 1, WALK_LEAF),
        (0, 2, 0, FAULT_ENTER),
    ]


def test_the_end_of_an_operation_is_the_place_before_the_next() -> None:
    actor = two_operations(WALK_LEAF, FAULT_ENTER, WALK_LEAF, FAULT_ENTER, WALK_LEAF, FAULT_SEQ)
    flows: list[Flow | None] = [(point for point in (WALK_LEAF,))]
    actor.flow = flows[0]
    actor.end_operation()
    flows.append(actor.flow)
    assert flows[1] is None
    assert actor.uid == 7
    assert position(actor) == (1, 0, 0, END)
    assert actor.ended_faults == 2


def test_after_the_last_operation_it_has_finished() -> None:
    actor = two_operations(FAULT_ENTER)
    actor.end_operation()
    actor.end_operation()
    assert actor.uid == -1
    assert position(actor) == (2, 0, 0, END)
    assert actor.ended_faults == 0


def test_who_gives_up_stays_where_it_stands() -> None:
    actor = two_operations(WALK_TABLE, WALK_LEAF)
    actor.give_up()
    assert actor.uid == -1
    assert position(actor) == (0, 0, 0, WALK_LEAF)


@pytest.mark.parametrize("ended", [0, 1, 2])
def test_operations_are_its_own_before_and_after_they_ran(ended: int) -> None:
    actor = two_operations()
    for _ in range(ended):
        actor.end_operation()
    assert [uid for uid in range(-1, 10) if actor.has(uid)] == [3, 7]


def test_actors_share_nothing() -> None:
    here, there = (RunningActor(uid, [Call(uid, CLEAR_YOUNG, 1, 1)], POINTS) for uid in (0, 1))
    here.come_to(FAULT_ENTER)
    here.end_operation()
    assert there.uid == 1
    assert position(there) == (0, 0, 0, END)
    assert not there.has(0)


# --- two of them, in the same operation ------------------------------------------------------------------------


# Each further on than those before it: by faults first, then by laps, then by rank.
FURTHER_AND_FURTHER: tuple[tuple[int, ...], ...] = (
    (),
    (WALK_TABLE,),
    (WALK_LEAF,),
    (WALK_LEAF, WALK_TABLE),
    (WALK_LEAF, WALK_TABLE, WALK_LEAF),
    (WALK_LEAF, WALK_LEAF, WALK_LEAF),
    (FAULT_ENTER,),
    (WALK_LEAF, FAULT_ENTER, FAULT_SEQ),
    (FAULT_ENTER, WALK_TABLE),
    (FAULT_ENTER, WALK_TABLE, WALK_LEAF),
    (FAULT_ENTER, FAULT_ENTER),
)


def test_who_has_come_further_has_reached_the_other() -> None:
    actors = [two_operations(*points) for points in FURTHER_AND_FURTHER]
    for place, actor in enumerate(actors):
        assert [actor.reached(other) for other in actors] == [other <= place for other in range(len(actors))]


def test_they_are_abreast_at_the_same_position_alone() -> None:
    for here, there in product(FURTHER_AND_FURTHER, repeat=2):
        assert two_operations(*here).is_abreast(two_operations(*there)) == (here == there)


def test_the_way_to_a_position_does_not_matter_but_at_the_end_the_faults_do() -> None:
    here, there = two_operations(WALK_LEAF), two_operations(WALK_TABLE, WALK_LEAF)
    assert here.is_abreast(there)
    here.end_operation()
    assert not here.is_abreast(there)
    there.end_operation()
    assert here.is_abreast(there)
    faulted = two_operations(FAULT_ENTER)
    faulted.end_operation()
    assert not here.is_abreast(faulted)
    assert not faulted.is_abreast(here)
    for actor in (here, faulted):
        actor.come_to(WALK_TABLE)
    assert here.is_abreast(faulted)
