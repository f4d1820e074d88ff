# SPDX-License-Identifier: GPL-2.0-only
"""Each rearrangement is the same work: every turn of every operation, an actor's own in order."""

from fuzzer.minimize.rearrange import exchanged_actors, joined_actors, joined_runs, rearrangements, runs_of
from fuzzer.program.generate import generate
from fuzzer.program.ops import DeleteSlot, Read, Track, Write
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Comparison, by_scheduler
from fuzzer.schedule.schedule import Turn
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config

PROGRAM = Program(
    Config(vcpus=2),
    (
        Actor("vcpu", (Read(0, 1), Write(3, 1))),
        Actor("vcpu", (Write(1, 1),)),
        Actor("ioctl", (DeleteSlot(2, 0),)),
        Actor("device", (Track(4, 1),)),
    ),
).check()


def turns(actors: str) -> list[Turn]:
    return [Turn(int(actor), int(actor), number + 1, 1) for number, actor in enumerate(actors)]


def order(arranged: list[Turn]) -> str:
    return "".join(str(turn.actor) for turn in arranged)


def test_a_run_is_put_off_to_the_next_of_its_actor_or_that_one_brought_forward() -> None:
    assert [order(run) for run in runs_of(turns("001220"))] == ["00", "1", "22", "0"]
    assert [order(joined) for joined in joined_runs(turns("00122011"))] == [
        "12200011",
        "00012211",
        "00220111",
        "00111220",
    ]
    assert list(joined_runs(turns("0122"))) == []
    assert runs_of([]) == []


def test_actors_are_exchanged_among_vcpus_and_among_the_others() -> None:
    exchanged = list(exchanged_actors(PROGRAM, turns("0123")))
    kinds = [[actor.kind for actor in program.actors] for program, _ in exchanged]
    assert kinds == [["vcpu", "vcpu", "ioctl", "device"], ["vcpu", "vcpu", "device", "ioctl"]]
    assert [order(renumbered) for _, renumbered in exchanged] == ["1023", "0132"]
    assert exchanged[0][0].actors[:2] == (PROGRAM.actors[1], PROGRAM.actors[0])


def test_two_actors_of_a_kind_become_one_that_works_in_the_order_of_uids() -> None:
    [(program, renumbered)] = joined_actors(PROGRAM, turns("0123"))
    assert [actor.kind for actor in program.actors] == ["vcpu", "ioctl", "device"]
    assert program.actors[0].ops == (Read(0, 1), Write(1, 1), Write(3, 1))
    assert order(renumbered) == "0012"


def test_nothing_is_lost_and_every_program_is_possible() -> None:
    count = 0
    for seed in range(5):
        program = generate(seed, PROFILES["mixed"])
        recorded = Comparison(OLD, NEW, "old").run(program, by_scheduler("random-walk", seed)).turns
        for other, arranged in rearrangements(program, recorded):
            other.check()
            assert other.operations() == program.operations()
            assert sorted(map(what, arranged)) == sorted(map(what, recorded))
            owners = [{op.uid for op in actor.ops} for actor in other.actors]
            assert all(turn.uid in owners[turn.actor] for turn in arranged)
            count += 1
    assert count > 100


def what(turn: Turn) -> tuple[int, int, int]:
    """The turn, whoever takes it."""
    return turn.uid, turn.point, turn.occurrence
