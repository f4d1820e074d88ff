# SPDX-License-Identifier: GPL-2.0-only
"""Schedulers: they pick who can run, repeat themselves, and each does what it is there for."""

from collections import Counter
from itertools import pairwise

import pytest

from fuzzer.program.generate import generate_script
from fuzzer.program.profile import PROFILES
from fuzzer.run.execute import Execution
from fuzzer.run.model import SHIPPED
from fuzzer.schedule.burst import Burst
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.pct import Pct
from fuzzer.schedule.scheduler import Scheduler
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy, make_scheduler
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.points import FAULT_ENTER, FAULT_RETRY
from reference_mmu.x86.points import POINTS

EVERY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)


class Watched(Scheduler):
    """Hands on what another scheduler picks, and notes it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.picked: list[int] = []

    def pick(self, choices: Choices) -> int:
        runnable = choices.runnable()
        actor = int(self.scheduler.pick(choices))
        assert actor in runnable
        self.picked.append(actor)
        return actor


def picks(strategy: str, seed: int) -> list[int]:
    """Who ran in the program of `seed`, turn by turn."""
    script = generate_script(seed, PROFILES["mixed"])
    execution = Execution(script, OLD, SHIPPED)
    watched = Watched(make_scheduler(strategy, seed, len(script.calls)))
    while execution.live() and execution.steps < 6000:
        execution.step(execution.actors[watched.pick(execution)])
    assert execution.live() == [], f"seed {seed} was not finished"
    return watched.picked


@EVERY_STRATEGY
def test_every_program_comes_to_its_end(strategy: str) -> None:
    for seed in range(60):
        picks(strategy, seed)


@EVERY_STRATEGY
def test_the_same_seed_picks_the_same(strategy: str) -> None:
    for seed in range(10):
        assert picks(strategy, seed) == picks(strategy, seed)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        make_scheduler("nonsense", 0, 2)


def test_the_portfolio_gives_each_an_equal_share() -> None:
    counts = Counter(draw_strategy(seed) for seed in range(3000))
    assert set(counts) == set(STRATEGIES)
    share = 1 / len(STRATEGIES)
    deviation = (3000 * share * (1 - share)) ** 0.5
    assert all(abs(count - 3000 * share) < 5 * deviation for count in counts.values())


def test_of_a_choice_each_gets_an_equal_share() -> None:
    counts = Counter(draw_strategy(seed, ("pct", "burst")) for seed in range(2000))
    assert set(counts) == {"pct", "burst"}
    assert all(880 < count < 1120 for count in counts.values())  # five standard deviations


def test_bursts_switch_seldom_and_random_walks_often() -> None:
    def switches(strategy: str) -> float:
        runs = [picks(strategy, seed) for seed in range(40)]
        return sum(a != b for run in runs for a, b in pairwise(run)) / sum(map(len, runs))

    assert switches("random-walk") > 2 * switches("burst")


def idle() -> Execution:
    """Something to show to a scheduler: everybody stands before the first operation."""
    return Execution(generate_script(0, PROFILES["mixed"]), OLD, SHIPPED)


def pick(scheduler: Scheduler, execution: Execution, *ready: int) -> int:
    """Who goes on if these can run, in ascending order."""
    for place, actor in enumerate(ready):
        execution.ready[place] = actor
    execution.n_ready = len(ready)
    return int(scheduler.pick(execution))


def test_pct_runs_the_highest_until_it_is_demoted() -> None:
    """At most d - 1 of 160 turns change who runs, with d at most 8."""
    execution = idle()
    for seed in range(50):
        pct = Pct(seed, 4)
        assert len(set(pct.priority)) == 4
        run = [pick(pct, execution, 0, 1, 2, 3) for _ in range(200)]
        assert sum(a != b for a, b in pairwise(run)) <= 7


def test_pct_demotes_who_retries() -> None:
    execution = idle()
    pct = Pct(1, 2)
    for turn in range(len(pct.changes)):
        pct.changes[turn] = 0
    first = pick(pct, execution, 0, 1)
    execution.actors[first].at = FAULT_RETRY
    assert pick(pct, execution, 0, 1) == 1 - first


def test_a_burst_ends_at_a_retry_or_when_the_actor_waits() -> None:
    execution = idle()
    burst = Burst(0)
    running = pick(burst, execution, 0, 1)
    assert pick(burst, execution, 1 - running) == 1 - running


@pytest.mark.parametrize("point", [p.number for p in POINTS.points if p.is_break])
def test_a_burst_lets_others_end_an_operation_where_mmu_lock_was_given_up(point: int) -> None:
    execution = idle()
    visited = 0
    for seed in range(50):
        burst = Burst(seed)
        execution.actors[pick(burst, execution, 0)].at = point
        execution.actors[1].at = FAULT_ENTER
        pick(burst, execution, 0, 1)
        if burst.visiting:
            assert [pick(burst, execution, 0, 1) for _ in range(20)] == [1] * 20
            visited += 1
        execution.actors[0].at = execution.actors[1].at = 0
    assert visited > 25


def test_every_other_burst_switches_at_waits_only() -> None:
    execution = idle()
    execution.actors[0].at = FAULT_ENTER
    assert POINTS.wants[FAULT_ENTER] == 0
    bursts = [Burst(seed) for seed in range(200)]
    for burst in bursts:
        pick(burst, execution, 0)
        run = [pick(burst, execution, 0, 1) for _ in range(10)]
        assert not burst.at_locks or run == [0] * 10
    assert 60 < sum(burst.at_locks for burst in bursts) < 140
