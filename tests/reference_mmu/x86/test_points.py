# SPDX-License-Identifier: GPL-2.0-only
"""Points: names and numbers, what is waited for, and ranks that follow the source."""

import ast
import inspect

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu import points as common
from reference_mmu.changelog.semantics import parse_semantics
from reference_mmu.points import END, N_POINTS, WANT_FILEMAP, WANT_READ, Point, PointTable
from reference_mmu.x86 import points
from reference_mmu.x86.points import POINTS
from tests.by_hand import Stage


def declared() -> dict[str, int]:
    """NAME: Final = number, as written in the sources of the common points and of x86's."""
    found = {}
    for module in (common, points):
        for node in ast.parse(inspect.getsource(module)).body:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int(number))):
                    if name not in ("N_POINTS", "END") and not name.startswith("WANT_"):
                        found[name] = number
    return found


def test_numbers_are_small_and_unique() -> None:
    numbers = list(declared().values())
    assert len(numbers) > 80
    assert len(set(numbers)) == len(numbers)
    # CPython keeps one object for each of these, so yielding one allocates nothing.
    assert min(numbers) > END
    assert max(numbers) < N_POINTS <= 256


def test_every_point_has_a_row_and_is_named_as_its_constant() -> None:
    rows = {point.name: point.number for point in POINTS.points}
    assert rows == {name.lower().replace("_", ".", 1): number for name, number in declared().items()}
    assert rows == POINTS.numbers
    assert POINTS.names[END] == ""


def test_a_rank_is_the_place_in_the_table() -> None:
    assert [POINTS.ranks[point.number] for point in POINTS.points] == list(range(1, len(POINTS.points) + 1))
    assert POINTS.ranks[END] == 0


def test_every_point_says_where_it_is() -> None:
    for point in POINTS.points:
        assert POINTS.places[point.number] == f"{point.function}: {point.about}"
        assert point.function
        assert point.about


@pytest.mark.parametrize("wrong", [Point(3, "b", "f", "x"), Point(4, "a", "f", "x"), Point(0, "c", "f", "x")])
def test_a_table_refuses_a_number_or_a_name_that_is_taken(wrong: Point) -> None:
    with pytest.raises(ValueError, match="has a number or a name that is not its own"):
        PointTable([Point(3, "a", "f", "x"), wrong])


def test_what_is_waited_for_belongs_to_a_point() -> None:
    wanting = [number for number in range(N_POINTS) if POINTS.wants[number]]
    assert len(POINTS.wants) == N_POINTS
    assert wanting
    assert all(POINTS.names[number] for number in wanting)
    assert all(WANT_READ <= POINTS.wants[number] <= WANT_FILEMAP for number in wanting)


def test_every_kind_of_wait_is_over_on_an_idle_machine() -> None:
    """Where nobody holds anything, everybody can run."""
    stage = Stage()
    for number in range(N_POINTS):
        stage.m.srcu_waiters[0] = stage.m.srcu.start_grace_period()
        assert stage.m.can_run(0, POINTS.wants[number]), POINTS.names[number]


def test_lock_points_wait_for_their_lock() -> None:
    stage = Stage()
    stage.m.srcu_waiters[1] = stage.m.srcu.start_grace_period()
    stage.m.write_lock()
    blocked = {POINTS.names[number] for number in range(N_POINTS) if not stage.m.can_run(1, POINTS.wants[number])}
    assert {"fault.lock_r", "inv.lock", "iter.relock_r", "get.lock", "vcpu.load"} <= blocked
    stage.m.write_unlock()
    stage.m.read_lock()
    blocked = {POINTS.names[number] for number in range(N_POINTS) if not stage.m.can_run(1, POINTS.wants[number])}
    assert "inv.lock" in blocked
    assert "fault.lock_r" not in blocked


@pytest.mark.parametrize("base", ["old", "new"])
def test_ranks_follow_the_source(base: str) -> None:
    """A point whose number is out of order counts as a lap, so a follower without the placebo's points would drift.
    Every program of the mix passes some forty different points."""
    semantics = parse_semantics(base)
    seen: set[int] = set()
    for seed in range(120):
        comparison = Comparison(semantics, parse_semantics(f"{base}+placebo-points"), "new" if seed % 2 else "old")
        outcome = comparison.run(generate(seed, PROFILES["mixed"]), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        seen.update(turn.point for turn in outcome.turns)
    assert len(seen) > 60
