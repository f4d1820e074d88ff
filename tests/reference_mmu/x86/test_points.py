# SPDX-License-Identifier: GPL-2.0-only
"""Points: names and numbers, what is waited for, and ranks that follow the source."""

import ast
import inspect

import pytest

from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.running_actor import END
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.patches import PATCHES, PLACEBOS
from reference_mmu.changelog.semantics import NEW, OLD, parse_semantics
from reference_mmu.x86 import points
from reference_mmu.x86.points import N_POINTS, NAMES, NUMBERS, PRIVATE, WANT_HOST_PTE, WANT_READ, WANTS
from tests.by_hand import Stage


def declared() -> dict[str, int]:
    """NAME: Final = number, as written in the source."""
    found = {}
    for node in ast.parse(inspect.getsource(points)).body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=int(number))):
                if name != "N_POINTS" and not name.startswith("WANT_"):
                    found[name] = number
    return found


def test_numbers_are_small_unique_and_in_the_order_of_the_source() -> None:
    numbers = list(declared().values())
    assert len(numbers) > 80
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)
    # CPython keeps one object for each of these, so yielding one allocates nothing.
    assert min(numbers) > END
    assert max(numbers) < N_POINTS <= 256


def test_every_point_has_a_name_and_every_name_a_point() -> None:
    assert {name: number for number, name in enumerate(NAMES) if name} == dict.fromkeys(NUMBERS) | NUMBERS
    assert sorted(NUMBERS.values()) == sorted(declared().values())
    assert len(set(NUMBERS)) == len(declared())
    assert NAMES[END] == ""


def test_what_is_waited_for_belongs_to_a_point() -> None:
    wanting = [number for number in range(N_POINTS) if WANTS[number]]
    assert len(WANTS) == N_POINTS
    assert wanting
    assert all(NAMES[number] for number in wanting)
    assert all(WANT_READ <= WANTS[number] <= WANT_HOST_PTE for number in wanting)


def test_every_kind_of_wait_is_over_on_an_idle_machine() -> None:
    """Where nobody holds anything, everybody can run."""
    stage = Stage()
    for number in range(N_POINTS):
        stage.m.srcu_waiters[0] = stage.m.srcu.start_grace_period()
        assert stage.m.can_run(0, WANTS[number]), NAMES[number]


def test_lock_points_wait_for_their_lock() -> None:
    stage = Stage()
    stage.m.srcu_waiters[1] = stage.m.srcu.start_grace_period()
    stage.m.write_lock()
    blocked = {NAMES[number] for number in range(N_POINTS) if not stage.m.can_run(1, WANTS[number])}
    assert {"fault.lock_r", "inv.lock", "iter.relock_r", "get.lock", "vcpu.load"} <= blocked
    stage.m.write_unlock()
    stage.m.read_lock()
    blocked = {NAMES[number] for number in range(N_POINTS) if not stage.m.can_run(1, WANTS[number])}
    assert "inv.lock" in blocked
    assert "fault.lock_r" not in blocked


def test_private_points_name_a_patch() -> None:
    for point, (patch, _) in PRIVATE.items():
        assert NAMES[point]
        assert patch in PATCHES or patch in PLACEBOS


@pytest.mark.parametrize("base", ["old", "new"])
def test_ranks_follow_the_source(base: str) -> None:
    """A point whose number is out of order counts as a lap, so a follower without the placebo's points would drift.
    Every program of the mix passes some forty different points."""
    semantics = OLD if base == "old" else NEW
    seen: set[int] = set()
    for seed in range(120):
        comparison = Comparison(semantics, parse_semantics(f"{base}+placebo-points"), "new" if seed % 2 else "old")
        outcome = comparison.run(generate(seed, PROFILES["mixed"]), by_scheduler(draw_strategy(seed), seed))
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        seen.update(turn.point for turn in outcome.turns)
    assert len(seen) > 60
