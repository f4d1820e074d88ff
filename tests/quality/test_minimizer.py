# SPDX-License-Identifier: GPL-2.0-only
"""How small stories get: known stories, buried in other work and scrambled, come out as small as they went in."""

from functools import partial
from pathlib import Path

import pytest

from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import Minimizer
from fuzzer.program import ops
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import Reproducer, decode_reproducer
from fuzzer.run.compare import Comparison, Drive, by_scheduler
from fuzzer.run.outcome import Outcome
from tests.hunted import all_found

GOLDEN = Path(__file__).parents[1] / "programs"
# Operations and switches of the smallest story that is known; the races are explained beside the programs.
SMALLEST = {
    "bug-219588": (2, 1),
    "aging-goes-unseen": (2, 1),
    "invalid-root-aging": (3, 1),  # the file's own has 2: the deleting actor comes before the aging one here
    "collapsible-frozen": (3, 3),
}
EVERY_STORY = pytest.mark.parametrize("name", SMALLEST)


def golden(name: str) -> Reproducer:
    return decode_reproducer((GOLDEN / f"{name}.json").read_bytes())


def minimal_size(reproducer: Reproducer, program: Program) -> tuple[int, int]:
    """Operations and switches that are left of the first random walk of the program that shows the finding."""
    comparison = reproducer.comparison()
    finding = reproducer.finding
    for seed in range(4000):
        drive = by_scheduler("random-walk", seed)
        outcome = comparison.run(program, drive)
        trial = Trial(comparison, drive, outcome)

        def replay(varied: Comparison, drive: Drive = drive) -> Outcome:
            return varied.run(program, drive)

        if trial.shows(finding, outcome, replay):
            result = Minimizer(comparison, partial(trial.shows, finding)).minimize(program, outcome.turns)
            assert result is not None
            assert result.complete
            return result.scenario.program.operations(), len(result.scenario.switches)
    raise AssertionError("no walk shows the finding")


def buried(program: Program) -> Program:
    """The program with other work before and after it, by its own actors and by others, at the same addresses."""
    slot = program.config.slots[0]
    first, last = slot.base, slot.base + slot.npages - 1
    uids = [op.uid for actor in program.actors for op in actor.ops]
    after = iter(range(max(uids) + 1, max(uids) + 20))
    actors = [
        Actor("vcpu", (*actor.ops, ops.Write(next(after), last), ops.Read(next(after), first)))
        for actor in program.actors
        if actor.kind == "vcpu"
    ]
    if len(actors) < program.config.vcpus:
        actors.append(Actor("vcpu", (ops.Prefetch(next(after), last), ops.Read(next(after), last))))
    others = [actor for actor in program.actors if actor.kind != "vcpu"]
    kinds = [actor.kind for actor in others]
    if "mm" not in kinds:
        others.append(Actor("mm", (ops.TestYoung(next(after), slot.hva), ops.ClearYoung(next(after), slot.hva, 1))))
    if "ioctl" not in kinds:
        others.append(Actor("ioctl", (ops.GetLog(next(after), 0),)))
    return Program(program.config, (*actors, *others)).check()


@EVERY_STORY
def test_a_scrambled_story_comes_out_with_as_few_switches(name: str) -> None:
    reproducer = golden(name)
    assert minimal_size(reproducer, reproducer.program) == SMALLEST[name]


@EVERY_STORY
def test_a_buried_story_comes_out_as_it_went_in(name: str) -> None:
    reproducer = golden(name)
    program = buried(reproducer.program)
    assert program.operations() >= SMALLEST[name][0] + 4
    assert minimal_size(reproducer, program) == SMALLEST[name]


def test_found_stories_are_short() -> None:
    """Typically at most 4 switches and never more than 6 operations: of 100 findings, a handful are longer."""
    found = all_found()
    assert len(found) > 20
    assert max(f.operations for f in found) <= 6
    assert sum(f.preemptions > 4 for f in found) * 20 <= len(found)
