# SPDX-License-Identifier: GPL-2.0-only
"""Turns: what went in as three numbers comes out again, and each is the how-many-eth of its kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzzer.program.program import MAX_ACTORS, MAX_OPERATIONS
from fuzzer.schedule.schedule import Turn
from fuzzer.schedule.turns import Turns
from reference_mmu.points import END, N_POINTS

Step = tuple[int, int, int]  # actor, uid, point

# Few of each, so that places are come to again and again.
FEW = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
ANY = st.tuples(st.integers(0, MAX_ACTORS - 1), st.integers(0, MAX_OPERATIONS - 1), st.integers(END, N_POINTS - 1))


def turns_of(steps: list[Step]) -> Turns:
    turns = Turns(MAX_OPERATIONS)
    for actor, uid, point in steps:
        turns.add(actor, uid, point)
    return turns


@given(st.lists(ANY))
def test_every_step_is_kept(steps: list[Step]) -> None:
    turns = turns_of(steps)
    assert len(turns) == len(steps)
    kept = [(int(turns.actor(n)), int(turns.uid(n)), int(turns.point(n))) for n in range(len(turns))]
    assert kept == steps


@given(st.lists(ANY, min_size=1))
def test_a_negative_number_counts_from_the_end(steps: list[Step]) -> None:
    turns = turns_of(steps)
    for number in range(-len(steps), 0):
        assert (int(turns.actor(number)), int(turns.uid(number)), int(turns.point(number))) == steps[number]


@given(st.lists(st.one_of(FEW, ANY)))
def test_a_schedule_counts_how_often_a_point_of_an_operation_was_come_to(steps: list[Step]) -> None:
    """Whoever came to it: an operation has one actor."""
    places = [step[1:] for step in steps]
    expected = [Turn(*step, places[: number + 1].count(step[1:])) for number, step in enumerate(steps)]
    assert turns_of(steps).written() == expected


@given(st.lists(FEW, min_size=1))
def test_the_last_turn_is_the_last_of_the_schedule(steps: list[Step]) -> None:
    for length in range(1, len(steps) + 1):
        turns = turns_of(steps[:length])
        assert turns.last() == turns.written()[-1]


@given(st.lists(FEW))
def test_occurrences_are_counted(steps: list[Step]) -> None:
    turns = turns_of(steps)
    for uid in range(4):
        for point in range(4):
            assert turns.occurrences(uid, point) == sum(step[1:] == (uid, point) for step in steps)


def test_what_is_written_is_plain_numbers() -> None:
    (turn,) = turns_of([(1, 2, 3)]).written()
    assert {type(number) for number in (turn.actor, turn.uid, turn.point, turn.occurrence)} == {int}


def test_before_the_first_turn_there_is_none() -> None:
    turns = Turns(1)
    assert len(turns) == 0
    assert turns.written() == []
    assert turns.occurrences(0, END) == 0
    with pytest.raises(IndexError):
        turns.last()
