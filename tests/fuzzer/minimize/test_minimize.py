# SPDX-License-Identifier: GPL-2.0-only
"""The smallest story: nothing in it can go, and it is found within the budget."""

from collections.abc import Iterator

import msgspec
import pytest

from fuzzer.found import minimized
from fuzzer.hunt import Hunt
from fuzzer.judge.shows import Rerun
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import (
    DEFAULT_BUDGET,
    Minimizer,
    Scenario,
    drop_empty_actor,
    renamed,
    simpler_arguments,
    simpler_configurations,
    smaller_programs,
    switches_of,
)
from fuzzer.program.generate import generate
from fuzzer.program.ops import ClearFlushYoung, GetLog, Nested, Read, Write
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Comparison, Drive, by_scheduler, by_switches
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.lockstep import Pair
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config, SlotConfig
from tests.hunted import all_found, reproducer_of


def shown(reproducer: Reproducer, scenario: Scenario) -> bool:
    """Does the story show the finding, in the sense in which it was minimized?"""
    comparison = reproducer.comparison()
    drive = by_switches(scenario.switches)
    outcome = comparison.run(scenario.program, drive)
    trial = Trial(comparison, drive, outcome)

    def replay(varied: Comparison) -> Outcome:
        return varied.run(scenario.program, drive)

    return trial.shows(reproducer.finding, outcome, replay)


def one_less(scenario: Scenario) -> Iterator[Scenario]:
    """Without any single operation, however its switches are read, and without any single switch."""
    for uid in sorted(scenario.program.uids()):
        yield Scenario(
            scenario.program.without(uid), tuple(switch for switch in scenario.switches if switch.uid != uid)
        )
        yield Scenario(scenario.program.without(uid), renamed(scenario, uid))
    for index in range(len(scenario.switches)):
        yield Scenario(scenario.program, scenario.switches[:index] + scenario.switches[index + 1 :])


@pytest.mark.slow
def test_every_story_shows_its_finding_and_no_smaller_one_does() -> None:
    """1-minimal."""
    smaller = 0
    for found in all_found():
        reproducer = reproducer_of(found)
        scenario = reproducer.scenario()
        assert reproducer.complete
        assert shown(reproducer, scenario)
        for less in one_less(scenario):
            assert not shown(reproducer, less), found.finding
            smaller += 1
    assert smaller > 50


@pytest.mark.slow
def test_it_stays_within_its_budget() -> None:
    """These stories cost some 50 runs on average, the dearest some 140."""
    costs = [found.executions for found in all_found()]
    assert max(costs) <= DEFAULT_BUDGET
    assert sum(costs) <= 80 * len(costs)


@pytest.mark.parametrize("budget", [20, 30])
def test_when_the_budget_ends_the_best_so_far_is_kept_and_said_to_be_that(budget: int) -> None:
    for seed in (0, 3, 4):
        hunt = Hunt(SeedRunner(OLD, NEW, msgspec.structs.replace(PROFILES["mixed"], mixes=())), budget=budget)
        fresh = [found for found in hunt.one(seed) if found.reproducer is not None]
        assert fresh != []
        for found in fresh:
            reproducer = reproducer_of(found)
            assert shown(reproducer, reproducer.scenario())
            # The last candidate may need a second run, under the attributed patches alone.
            assert found.executions <= budget + 2
            assert not reproducer.complete or found.executions < budget


def test_a_finding_that_does_not_survive_is_given_up() -> None:
    """Nothing to show: not even the unchanged story is accepted."""
    program = generate(0, PROFILES["mixed"])
    comparison = Comparison(OLD, NEW, "old")
    turns = comparison.run(program, by_scheduler("burst", 1)).turns
    minimizer = Minimizer(comparison, never, budget=100)
    assert minimizer.minimize(program, turns) is None


def never(outcome: Outcome, rerun: Rerun) -> bool:
    return False


def always(outcome: Outcome, rerun: Rerun) -> bool:
    return True


def test_what_anything_shows_shrinks_to_nothing() -> None:
    for seed in range(6):
        program = generate(seed, PROFILES["mixed"])
        comparison = Comparison(OLD, NEW, "old")
        turns = comparison.run(program, by_scheduler("random-walk", seed)).turns
        result = Minimizer(comparison, always).minimize(program, turns)
        assert result is not None
        assert result.complete
        assert result.scenario.program.operations() == 0
        assert result.scenario.program.actors == ()
        assert result.scenario.switches == ()


def test_every_run_but_the_writing_down_is_of_a_pass() -> None:
    """Two runs write the first story and try it; a finding that every run shows needs no others."""
    program = generate(3, PROFILES["mixed"])
    comparison = Comparison(OLD, NEW, "old")
    turns = comparison.run(program, by_scheduler("random-walk", 3)).turns
    result = Minimizer(comparison, always).minimize(program, turns)
    assert result is not None
    assert sum(one.calls for one in result.passes) == result.executions - 2
    under_turns = result.passes[0]
    assert (under_turns.name, under_turns.shrinks) == ("operations under turns", sum(map(busy, program.actors)))
    assert result.passes[1].shrinks == len(program.actors), "what is left are actors with nothing to do"


def busy(actor: Actor) -> bool:
    return actor.ops != ()


def test_the_same_search_gives_the_same_story() -> None:
    drive: Drive = by_scheduler("random-walk", 3)
    comparison = Comparison(OLD, NEW, "old")
    outcomes = (comparison.run(generate(seed, PROFILES["aging"]), drive) for seed in range(50))
    outcome = next(outcome for outcome in outcomes if outcome.divergences)
    trial = Trial(comparison, drive, outcome)
    divergence = outcome.divergences[0]
    finding = trial.divergence(divergence)
    once = minimized(trial, finding, DEFAULT_BUDGET, 1)
    assert minimized(trial, finding, DEFAULT_BUDGET, 1) == once


# --- the candidates --------------------------------------------------------------------------------------------


PROGRAM = Program(
    Config(vcpus=2, manual_protect=True, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)), backing=("thp", "anon")),
    (
        Actor("vcpu", (Read(0, 1, upgrade_fails=True), Write(1, 2))),
        Actor("vcpu", ()),
        Actor("mm", (ClearFlushYoung(2, 0, 4),)),
        Actor("ioctl", (GetLog(3, 0, resched=5),)),
    ),
).check()
SCENARIO = Scenario(PROGRAM, (Switch(0, 13, 1, 2), Switch(1, 44, 1, 3), Switch(2, 70, 1, 0)))


def test_cuts_go_from_whole_actors_to_single_operations_from_the_back() -> None:
    sizes = [smaller.operations() for cut in smaller_programs(PROGRAM) if (smaller := cut(PROGRAM)) is not None]
    assert sizes == [3, 3, 2, 3, 3, 3, 3]
    first, *_ = smaller_programs(PROGRAM)
    smaller = first(PROGRAM)
    assert smaller is not None
    assert smaller.uids() == {0, 1, 2}
    # Tried again on what is left, a cut that has nothing to cut says so.
    assert first(smaller) is None


def test_switches_of_a_dropped_operation_move_to_the_end_of_the_one_before() -> None:
    assert renamed(SCENARIO, 1) == (Switch(0, 13, 1, 2), Switch(0, 0, 1, 3), Switch(2, 70, 1, 0))
    assert renamed(SCENARIO, 0) == (Switch(-1, 0, 1, 2), Switch(1, 44, 1, 3), Switch(2, 70, 1, 0))


def test_when_an_actor_goes_those_behind_it_move_up() -> None:
    scenario = drop_empty_actor(SCENARIO, 1)
    assert [actor.kind for actor in scenario.program.actors] == ["vcpu", "mm", "ioctl"]
    assert scenario.switches == (Switch(0, 13, 1, 1), Switch(1, 44, 1, 2), Switch(2, 70, 1, 0))


def test_arguments_and_configuration_become_plain() -> None:
    simpler = [scenario.program for scenario in simpler_arguments(SCENARIO)]
    assert simpler[0].actors[0].ops[0] == Read(0, 1)
    assert simpler[1].actors[2].ops[0] == ClearFlushYoung(2, 0, 1)
    assert simpler[2].actors[3].ops[0] == GetLog(3, 0)
    configs = [scenario.program.config for scenario in simpler_configurations(SCENARIO)]
    assert any(not config.manual_protect for config in configs)
    assert any(config.backing == ("anon", "anon") for config in configs)
    assert any(config.slots == (SlotConfig(0, 4, 0),) for config in configs)


def test_a_program_that_would_be_impossible_is_no_candidate() -> None:
    nested = Program(Config(vcpus=1, nested=True), (Actor("vcpu", (Nested(0),)),)).check()
    minimizer = Minimizer(Comparison(OLD, NEW, "old"), always)
    impossible = Program(Config(vcpus=1), nested.actors)
    assert not minimizer.consider(Scenario(impossible, ()))
    assert minimizer.executions == 0


def test_a_recorded_run_is_written_with_a_switch_at_each_preemption_only() -> None:
    comparison = Comparison(OLD, NEW, "old")

    def one_after_the_other(pair: Pair) -> None:
        pair.replay_switches(())

    turns = comparison.run(PROGRAM, one_after_the_other).turns
    assert switches_of(comparison, PROGRAM, turn_by_turn(turns)) == ()
