# SPDX-License-Identifier: GPL-2.0-only
"""The pair in lockstep: what must never differ, how far the follower goes, when the two have drifted."""

import gc
from collections.abc import Generator
from itertools import pairwise

import pytest

from fuzzer.minimize.minimize import switches_of
from fuzzer.program.generate import generate
from fuzzer.program.ops import ClearFlushYoung, DeleteSlot, NumaHint, Read, Write
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.program import Actor, Program
from fuzzer.program.script import script_of
from fuzzer.reproducer import trace_digest
from fuzzer.run.compare import Comparison, by_scheduler, by_switches, by_turns
from fuzzer.run.drive import turn_by_turn
from fuzzer.run.lockstep import MAX_LONE_RETRIES, Pair
from fuzzer.run.model import SHIPPED, LoadedModel, Model
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.choices import Choices
from fuzzer.schedule.running_actor import Flow
from fuzzer.schedule.schedule import Switch, Turn
from fuzzer.schedule.scheduler import Scheduler
from fuzzer.schedule.schedulers import STRATEGIES, draw_strategy
from reference_mmu.changelog.patches import PLACEBOS
from reference_mmu.changelog.semantics import NEW, Semantics, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import OLD as FIRST
from reference_mmu.config import Config
from reference_mmu.kvm.vm import Vm
from reference_mmu.operations import NUMA_HINT, Call
from reference_mmu.points import (
    AGE_FLUSH,
    AGE_LOCK,
    END,
    FAULT_ENTER,
    FAULT_RETRY,
    GUP_FAULT,
    GUP_HWPOISON,
    N_POINTS,
    SLOTS_SRCU,
)
from reference_mmu.x86.points import AGE_SPTE, PLACEBO_FAULT
from reference_mmu.x86.x86 import X86

EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)

# A rule of lockstep that counts steps or labels was measured to differ in 7 % of programs or more: with one, 200
# programs would all agree with a probability below 1 in 10**6. The rule in use was never seen to differ.
PROGRAMS = 80
SAME = {
    "old against old": ("old", "old"),
    "new against new": ("new", "new"),
    "old, points added": ("old", "old+placebo-points"),
    "new, points added": ("new", "new+placebo-points"),
}


def outcome_of(seed: int, profile: Profile, old: Semantics, new: Semantics) -> Outcome:
    """A random program under a random interleaving; odd seeds are led by the old side."""
    drive = by_scheduler(draw_strategy(seed), seed ^ 0x9E3779B1)
    return Comparison(old, new, "old" if seed % 2 else "new").run(generate(seed, profile), drive)


@pytest.mark.slow
@EVERY_PROFILE
@pytest.mark.parametrize("pair", SAME.values(), ids=SAME)
def test_the_same_behaviour_never_differs(pair: tuple[str, str], profile: Profile) -> None:
    old, new = parse_semantics(pair[0]), parse_semantics(pair[1])
    # Where not even points differ, steps and labels are alike by any rule: a quarter looks for all else.
    for seed in range(PROGRAMS // 4 if old == new else PROGRAMS):
        outcome = outcome_of(seed, profile, old, new)
        assert outcome.divergences == [], f"seed {seed}"
        assert outcome.pair.drift_turn == -1, f"seed {seed}"
        assert list(outcome.violations("old")) == list(outcome.violations("new")), f"seed {seed}"
        assert not outcome.pair.stuck, f"seed {seed}"
        assert not outcome.pair.truncated, f"seed {seed}"


@pytest.mark.slow
@EVERY_PROFILE
@pytest.mark.parametrize("base", ["old", "new"])
def test_a_harmless_flush_shows_only_what_it_declares(base: str, profile: Profile) -> None:
    """An undeclared effect of the flush would be a false finding of every real patch that removes one."""
    seen: set[str] = set()
    for seed in range(PROGRAMS):
        outcome = outcome_of(seed, profile, parse_semantics(base), parse_semantics(f"{base}+placebo-flush"))
        seen.update(divergence.effect for divergence in outcome.divergences)
    # Every second program ages something, if any does.
    assert ("more-flushes" in seen) == bool(profile.aging)
    assert seen <= PLACEBOS["placebo-flush"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_gives_the_same_run(strategy: str) -> None:
    for seed in range(40):
        program = generate(seed, PROFILES["mixed"])
        comparison = Comparison(OLD, NEW, "new" if seed % 2 else "old")
        once = comparison.run(program, by_scheduler(strategy, seed))
        again = comparison.run(generate(seed, PROFILES["mixed"]), by_scheduler(strategy, seed))
        assert trace_digest(once) == trace_digest(again), f"seed {seed}"


def longest_spin(turns: list[Turn]) -> int:
    """Most fault retries in a row of an actor while nobody else moved."""
    longest = spin = 0
    for before, turn in pairwise([Turn(-1, -1, END, 1), *turns]):
        spin = 0 if turn.actor != before.actor else spin
        spin += turn.point == FAULT_RETRY
        longest = max(longest, spin)
    return longest


@EVERY_PROFILE
def test_a_run_replays_from_its_turns_and_from_its_switches(profile: Profile) -> None:
    for seed in range(40):
        program = generate(seed, profile)
        comparison = Comparison(OLD, NEW, "new" if seed % 2 else "old")
        recorded = comparison.run(program, by_scheduler(draw_strategy(seed), seed))
        # In an edited schedule an actor that spins may wait for one that is gone, so replay cuts longer spins short.
        if longest_spin(recorded.turns) < 3:
            under_turns = comparison.run(program, by_turns(recorded.turns))
            assert trace_digest(under_turns) == trace_digest(recorded), f"seed {seed}"
        switches = switches_of(comparison, program, turn_by_turn(recorded.turns))
        under_switches = comparison.run(program, by_switches(switches))
        assert trace_digest(under_switches) == trace_digest(recorded), f"seed {seed}"


def test_the_leader_alone_decides_who_runs() -> None:
    """Its turns, and so all that attribution compares, do not depend on who follows."""
    for seed in range(60):
        program = generate(seed, PROFILES["mixed"])
        drive = by_scheduler(draw_strategy(seed), seed)
        alone = Comparison(OLD, OLD, "old").run(program, drive)
        assert Comparison(OLD, NEW, "old").run(program, drive).turns == alone.turns, f"seed {seed}"


# --- how far the follower goes ---------------------------------------------------------------------------------


def program_of(*actors: Actor, config: Config | None = None) -> Program:
    return Program(config or Config(vcpus=1), actors).check()


AGED = program_of(Actor("vcpu", (Write(0, 1),)), Actor("mm", (ClearFlushYoung(1, 1, 1),)))


def pair_of(program: Program, lead: Semantics, follow: Semantics, models: tuple[Model, Model] | None = None) -> Pair:
    return Pair(script_of(program), lead, follow, models or (SHIPPED, SHIPPED))


def lead_to(pair: Pair, actor: int, point: int) -> None:
    """Turns of `actor` until the leader stands at `point`."""
    for _ in range(100):
        pair.turn(actor)
        if pair.turns.point(-1) == point:
            return
    raise AssertionError("never got there")


def comparable(pair: Pair) -> set[int]:
    """uids of the operations whose raw results may be compared."""
    return {uid for uid in range(len(pair.comparable)) if pair.comparable[uid]}


def test_the_follower_stands_where_the_leader_stands() -> None:
    pair = pair_of(AGED, OLD, OLD)
    while pair.leader.live():
        actor = pair.leader.runnable()[0]
        pair.turn(actor)
        assert int(pair.follower.actors[actor].at) == int(pair.leader.actors[actor].at)
        assert int(pair.follower.actors[actor].place) == int(pair.leader.actors[actor].place)


def test_at_a_point_the_follower_lacks_it_goes_on_to_the_next_it_has() -> None:
    pair = pair_of(AGED, OLD, NEW)
    lead_to(pair, 0, END)
    lead_to(pair, 1, AGE_FLUSH)
    # It has aged the page, found nothing to do but to end, and holds mmu_lock no longer.
    assert 1 not in pair.follower.live()
    assert pair.follower.m.mmu_lock.state == 0
    assert pair.leader.m.mmu_lock.state == -1
    assert pair.drift_turn == -1  # the point is private to the pair
    pair.turn(1)
    assert pair.drift_turn == -1


def test_a_point_only_the_follower_has_is_passed_with_the_next_that_both_have() -> None:
    pair = pair_of(AGED, NEW, OLD)
    lead_to(pair, 0, END)
    lead_to(pair, 1, AGE_SPTE)
    assert int(pair.follower.actors[1].at) == AGE_SPTE
    lead_to(pair, 1, END)
    assert 1 not in pair.follower.live()
    assert pair.drift_turn == -1


def test_points_are_private_to_a_pair_only_where_one_side_cannot_have_them() -> None:
    assert not any(map(pair_of(AGED, OLD, OLD).leader_private.has, range(N_POINTS)))
    assert pair_of(AGED, OLD, NEW).leader_private.has(AGE_FLUSH)
    assert pair_of(AGED, NEW, OLD).follower_private.has(AGE_FLUSH)
    placebo = parse_semantics("no-struct-page+placebo-points")
    assert pair_of(AGED, placebo, OLD).leader_private.has(PLACEBO_FAULT)
    assert not any(map(pair_of(AGED, placebo, placebo).leader_private.has, range(N_POINTS)))


def test_a_blocked_follower_owes_the_rest_and_pays_with_the_actors_next_turn() -> None:
    """OLD waits for mmu_lock while its flush is on the way; NEW, which leads, has released it."""
    program = program_of(
        Actor("vcpu", (Write(0, 1), Read(2, 2))),
        Actor("mm", (ClearFlushYoung(1, 1, 1),)),
    )
    pair = pair_of(program, OLD, OLD)
    lead_to(pair, 0, END)
    lead_to(pair, 1, AGE_FLUSH)
    # The other actor may run up to mmu_lock and no further, in both.
    while 0 in pair.leader.runnable():
        pair.turn(0)
    assert 0 not in pair.leader.runnable()
    assert 0 not in pair.follower.runnable()
    pair.turn(1)
    assert 0 in pair.leader.runnable()
    lead_to(pair, 0, END)
    assert pair.follower.live() == pair.leader.live() == []


# --- drift -----------------------------------------------------------------------------------------------------


# The flush of OLD throws the TLB entry out that NEW goes on using, so OLD faults or walks where NEW hits.
HIT_OR_WALK = program_of(
    Actor("vcpu", (Write(0, 1), Write(2, 1))),
    Actor("mm", (ClearFlushYoung(1, 1, 1),)),
)


def test_drift_begins_where_one_walks_and_the_other_hits_its_tlb() -> None:
    pair = pair_of(HIT_OR_WALK, OLD, NEW)
    lead_to(pair, 0, END)
    lead_to(pair, 1, END)
    assert pair.drift_turn == -1
    pair.turn(0)
    assert pair.drift_turn == len(pair.turns) - 1
    # The two that ended before in both, and the one in which it began.
    assert comparable(pair) == {0, 1, 2}


def test_what_both_ended_stays_comparable_and_what_began_later_does_not() -> None:
    program = program_of(
        Actor("vcpu", (Write(0, 1), Write(2, 1), Read(3, 5))),
        Actor("mm", (ClearFlushYoung(1, 1, 1),)),
    )
    pair = pair_of(program, OLD, NEW)
    pair.replay_switches((Switch(0, END, 1, 1),))
    assert pair.drift_turn >= 0
    assert comparable(pair) == {0, 1, 2}


def test_a_fault_is_comparable_after_the_drift_only_if_both_are_in_that_one() -> None:
    for ahead in (0, 1):
        pair = pair_of(AGED, OLD, OLD)
        lead_to(pair, 0, FAULT_ENTER)
        pair.follower.actors[0].faults += ahead
        pair.begin_drift(0, 0)
        assert pair.drift_in_fault == (ahead == 0)


def test_a_look_up_that_asks_for_poison_no_more_stays_in_step() -> None:
    """The first look-up of such memory fails in GUP; before gup-drop-extra-hwpoison-gup, twice."""
    config = Config(arch="arm64", vcpus=1, backing=("pfnmap-nostruct", "anon"))
    program = program_of(Actor("vcpu", (Write(0, 1),)), config=config)
    without = parse_semantics("old+gup-drop-extra-hwpoison-gup")
    for lead, follow in ((FIRST, without), (without, FIRST)):
        pair = pair_of(program, lead, follow)
        pair.replay_switches(())
        assert pair.drift_turn == -1
        assert (pair.turns.occurrences(0, GUP_HWPOISON) == 1) == (lead is FIRST)


def test_a_follower_waits_while_the_leader_is_about_to_do_what_it_does_not() -> None:
    """Else it would end its look-up, and whatever comes of that, before those who come in between in the leader."""
    config = Config(arch="arm64", vcpus=1, backing=("pfnmap-nostruct", "anon"))
    program = program_of(Actor("vcpu", (Write(0, 1),)), config=config)
    pair = pair_of(program, FIRST, parse_semantics("old+gup-drop-extra-hwpoison-gup"))
    lead_to(pair, 0, GUP_HWPOISON)
    assert pair.follower.actors[0].at == GUP_FAULT
    pair.turn(0)
    assert pair.leader.actors[0].is_abreast(pair.follower.actors[0])


def test_without_drift_everything_is_comparable() -> None:
    pair = pair_of(HIT_OR_WALK, NEW, NEW)
    pair.replay_switches((Switch(0, END, 1, 1),))
    assert pair.drift_turn == -1
    assert comparable(pair) == {0, 1, 2}


# --- no progress, broken models --------------------------------------------------------------------------------


class Unfair(Scheduler):
    """Runs actor 0 whenever it can."""

    def pick(self, choices: Choices) -> int:
        return int(choices.ready[0])


def reading_an_invalid_slot() -> Pair:
    """Actor 1 is deleting the slot, so that it is INVALID; until it goes on, actor 0 spins at its retry point."""
    program = program_of(
        Actor("vcpu", (Read(0, 1),)),
        Actor("ioctl", (DeleteSlot(1, 0),)),
    )
    pair = pair_of(program, OLD, NEW)
    lead_to(pair, 1, SLOTS_SRCU)
    return pair


@pytest.mark.reaches("no-progress")
def test_a_fault_that_retries_for_ever_is_no_progress_of_the_leader() -> None:
    pair = reading_an_invalid_slot()
    pair.run(Unfair())
    assert pair.stuck
    assert list(pair.leader.judge.violations) == ["no-progress"]
    assert pair.follower.judge.violations == {}
    assert [turn.point for turn in pair.turns.written()].count(FAULT_RETRY) == MAX_LONE_RETRIES + 1


def test_replay_without_preemption_lets_the_others_run_at_a_retry() -> None:
    pair = reading_an_invalid_slot()
    pair.replay_switches(())
    assert not pair.stuck
    assert pair.leader.live() == []


def lock_twice(m: Vm, actor: int, call: Call) -> Flow:
    """A flow that takes mmu_lock where it already holds it."""
    if call.kind != NUMA_HINT:
        return SHIPPED.start(m, actor, call)
    return locked_twice(m)


def locked_twice(m: Vm) -> Generator[int, None, None]:
    yield AGE_LOCK
    m.write_lock()
    m.write_lock()


BROKEN = LoadedModel(X86, lock_twice)
HINTED = program_of(Actor("vcpu", (Read(0, 1),)), Actor("mm", (NumaHint(1, 1, 1),)))


@pytest.mark.reaches("model-bug")
@pytest.mark.parametrize("breaks", ["leader", "follower"])
def test_a_model_that_breaks_its_own_rules_is_blamed_on_its_side(breaks: str) -> None:
    models = (BROKEN, SHIPPED) if breaks == "leader" else (SHIPPED, BROKEN)
    pair = pair_of(HINTED, OLD, OLD, models)
    pair.replay_switches(())
    sides = {"leader": pair.leader, "follower": pair.follower}
    assert {name: list(side.judge.violations) for name, side in sides.items()} == {
        "leader": ["model-bug"] if breaks == "leader" else [],
        "follower": ["model-bug"] if breaks == "follower" else [],
    }
    assert pair.truncated or pair.drift_turn >= 0


@pytest.mark.parametrize("name", PROFILES)
def test_a_finished_pair_leaves_nothing_to_the_collector(name: str) -> None:
    """Neither one that was only run, nor one whose turns were watched."""
    comparison = Comparison(OLD, NEW, "old")

    def run_and_watch() -> None:
        for seed in range(4):
            program = generate(seed, PROFILES[name])
            turns = comparison.run(program, by_scheduler("burst", seed)).turns
            switches_of(comparison, program, turn_by_turn(turns))

    run_and_watch()  # what a cache keeps of other tests, such as a changed model, it drops now
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)  # so that a failure says what it was
    try:
        run_and_watch()
        gc.collect()
        left = [type(thing).__name__ for thing in gc.garbage]
        assert left == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
