# SPDX-License-Identifier: GPL-2.0-only
"""Dispatching, folding and settling, without workers: every order of events gives the same findings, counted once."""

import random

import msgspec
import pytest
from sqlalchemy import Engine

from db.batches import store_batch
from db.dispatch import Dispatched, Patience, dispatch
from db.findings import OCCURRENCES_MAX, REPRODUCER_BYTES_MAX
from db.fleets import FleetPlan, Fleets
from db.handout import TaskName
from db.judgements import store_judged
from db.liveness import WorkerRow, note_worker
from db.minimals import Minimal, store_minimals
from db.schema import CampaignState, TaskKind
from db.session import StoreError
from db.store import Store
from db.tasks import STARTS_MAX, BatchWork, CauseHead, JudgeWork, MinimizeWork, OtherModel, Tasks, Work
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Verdict, signature
from fuzzer.judge.seen import Trace
from fuzzer.sighting import Sighting
from tests.db.stored import MODEL, NIGHTLY, Clock
from tests.findings import divergence

PATIENCE = Patience(resend_seconds=60, limit_seconds=300)
EFFECTS = ("fewer-flushes", "more-checks", "fewer-checks")


class World:
    """A campaign and its worker, step by step."""

    def __init__(self, engine: Engine, **plan: object) -> None:
        self.engine = engine
        self.clock = Clock()
        self.fleets = Fleets(engine, self.clock)
        self.tasks = Tasks(engine, self.clock)
        self.store = Store(engine, self.clock)
        chosen = {"batch_programs": 10, "until_regression": False, "slots_max": None} | plan
        self.campaign = self.fleets.create(
            FleetPlan(**chosen),  # type: ignore[arg-type]
            msgspec.structs.replace(NIGHTLY, seed_first=100, budget_programs=200),
        )
        self.minimized: list[int] = []

    def worker(self, name: str = "one", slots: int = 4, model: str = MODEL) -> None:
        note_worker(self.engine, WorkerRow(name, "host", 1, slots, model, self.clock(), self.clock()))

    def dispatch(self) -> Dispatched | None:
        return dispatch(self.engine, self.campaign, PATIENCE, self.clock)

    def publish(self) -> list[TaskName]:
        dispatched = self.dispatch()
        return list(dispatched.publish) if dispatched else []

    def perform(self, name: TaskName) -> None:
        """What a worker would do, with a model that shows effect n at every seed that n + 2 divides."""
        work = self.tasks.begin(name, "one", MODEL)
        if work is not None:
            self.end(name, work)

    def end(self, name: TaskName, work: Work) -> None:
        if isinstance(work, BatchWork):
            run_batch(self.engine, name, work.seeds, self.clock)
        elif isinstance(work, JudgeWork):
            numbers = [one.number for one in work.asked]
            store_judged(self.engine, name, numbers, [judged(one.trace) for one in work.asked])
        else:
            self.minimized += [head.number for head in work.heads]
            store_minimals(self.engine, name, [minimal(head) for head in work.heads], self.clock)

    def findings(self) -> dict[str, tuple[int, int, int, tuple[tuple[int, int], ...]]]:
        return {
            row.finding.what: (row.count, row.batches, row.first_seed, self.occurrences(row.signature))
            for row in self.store.findings()
        }

    def occurrences(self, name: str) -> tuple[tuple[int, int], ...]:
        return tuple((one.program_seed, one.count) for one in self.store.occurrences(name))


def run_batch(engine: Engine, name: TaskName, seeds: range, clock: Clock) -> bool:
    seen = []
    for divisor, effect in enumerate(EFFECTS, 2):
        for leader, parity in (("old", 0), ("new", 1)):
            shown = tuple(seed for seed in seeds if seed % divisor == 0 and seed // divisor % 2 == parity)
            if shown:
                seen.append(Sighting(Trace("divergence", effect, (leader,)), shown))
    result = BatchResult(name.campaign, name.number, seeds.start, len(seeds), 100, 0.1, 7, ())
    return store_batch(engine, result, tuple(seen), clock)


def minimal(head: CauseHead) -> Minimal:
    return Minimal(head.number, FoundFinding(head.finding, 1, head.seed, b"{}"), 2, 1, "d")


def judged(trace: Trace) -> Finding:
    """Two traces of each effect are one bug."""
    return divergence(trace.what, direction="necessary")


EXPECTED = {
    effect: (sum(seed % divisor == 0 for seed in range(100, 300)), 20, -(-100 // divisor) * divisor)
    for divisor, effect in enumerate(EFFECTS, 2)
}


@pytest.fixture
def world(file_engine: Engine) -> World:
    return World(file_engine)


def run_to_the_end(world: World, disorder: random.Random) -> None:
    """Tasks in any order; some twice, some lost on the way until the dispatcher loses its patience."""
    waiting: list[TaskName] = []
    for _ in range(1000):
        world.worker()
        dispatched = world.dispatch()
        if dispatched is None:
            return
        waiting += dispatched.publish
        disorder.shuffle(waiting)
        for name in [waiting.pop() for _ in range(min(3, len(waiting)))]:
            fate = disorder.random()
            if fate > 0.2:
                world.perform(name)
            if fate > 0.7:
                waiting.append(name)
        world.clock.pass_by(seconds=7)
    raise AssertionError("the campaign does not end")


@pytest.mark.parametrize("seed", range(6))
def test_every_order_gives_the_same_findings(file_engine: Engine, seed: int) -> None:
    world = World(file_engine)
    run_to_the_end(world, random.Random(seed))
    status = world.fleets.status(world.campaign)
    assert (status.campaign.state, status.programs, status.batches, status.unjudged) == (
        CampaignState.FINISHED,
        200,
        20,
        0,
    )
    findings = world.findings()
    assert {what: found[:3] for what, found in findings.items()} == EXPECTED
    for divisor, effect in enumerate(EFFECTS, 2):
        firsts = [-(-start // divisor) * divisor for start in range(100, 300, 10)]
        counts = [sum(s % divisor == 0 for s in range(start, start + 10)) for start in range(100, 300, 10)]
        assert findings[effect][3] == tuple(zip(firsts, counts, strict=True))
    assert len(set(world.minimized)) == len(EFFECTS), "each bug is minimized at one judgement only"


def test_a_batch_that_comes_twice_is_counted_once(world: World, file_engine: Engine) -> None:
    name = TaskName(world.campaign, TaskKind.BATCH, 0)
    assert run_batch(file_engine, name, range(100, 110), world.clock)
    assert not run_batch(file_engine, name, range(100, 110), world.clock)
    assert world.fleets.status(world.campaign).programs == 10
    assert sum(trace.count for trace in world.store.unjudged() if trace.trace.what == "fewer-flushes") == 5


class TestPublishing:
    def test_nothing_without_workers(self, world: World) -> None:
        assert world.publish() == []
        world.worker(model="another")
        assert world.publish() == []
        assert world.fleets.status(world.campaign).other_models == ("another",)

    def test_four_batches_a_slot(self, world: World) -> None:
        world.worker(slots=3)
        assert [name.number for name in world.publish()] == list(range(12))
        assert world.publish() == []

    def test_at_most_so_many_slots(self, file_engine: Engine) -> None:
        world = World(file_engine, slots_max=2)
        world.worker(slots=3)
        assert len(world.publish()) == 2

    def test_again_when_nobody_began_it(self, world: World) -> None:
        world.worker()
        first = world.publish()
        world.clock.pass_by(seconds=61)
        world.worker()
        assert world.publish() == first

    def test_again_when_its_worker_is_dead(self, world: World) -> None:
        world.worker("one")
        first = world.publish()
        world.tasks.begin(first[0], "one", MODEL)
        world.clock.pass_by(seconds=16)
        world.worker("two")
        assert first[0] in world.publish()

    def test_not_while_its_worker_lives_and_is_in_time(self, world: World) -> None:
        world.worker()
        first = world.publish()
        for name in first:
            world.tasks.begin(name, "one", MODEL)
        world.clock.pass_by(seconds=299)
        world.worker()
        assert world.publish() == []
        world.clock.pass_by(seconds=2)
        assert world.publish() == first

    def test_not_while_paused(self, world: World) -> None:
        world.worker()
        first = world.publish()
        world.fleets.pause(world.campaign)
        assert world.tasks.begin(first[0], "one", MODEL) is None
        assert world.dispatch() is None
        world.fleets.resume(world.campaign)
        assert world.publish() == first[:1], "what was put back goes out at once"


class TestBegin:
    def test_another_model(self, world: World) -> None:
        world.worker()
        with pytest.raises(OtherModel, match="made with model 0123456789ab and this worker has another"):
            world.tasks.begin(world.publish()[0], "one", "another")

    def test_what_kills_its_workers(self, world: World) -> None:
        world.worker()
        name = world.publish()[0]
        for _ in range(STARTS_MAX):
            assert world.tasks.begin(name, "one", MODEL, redelivered=True) is not None
        assert world.tasks.begin(name, "one", MODEL, redelivered=True) is None
        (aside,) = world.tasks.aside(world.campaign)
        assert aside.error == f"begun {STARTS_MAX} times and never finished: it kills its worker"

    def test_the_second_message_of_a_task_that_waited(self, world: World) -> None:
        world.worker()
        name = world.publish()[0]
        world.clock.pass_by(seconds=61)
        world.worker()
        assert name in world.publish()
        assert world.tasks.begin(name, "one", MODEL) is not None
        assert world.tasks.begin(name, "two", MODEL) is None, "it is in hand"
        assert world.tasks.begin(name, "two", MODEL, redelivered=True) is not None, "who had it died"

    def test_published_again_after_its_worker_died(self, world: World) -> None:
        world.worker("one")
        name = world.publish()[0]
        assert world.tasks.begin(name, "one", MODEL) is not None
        world.clock.pass_by(seconds=16)
        world.worker("two")
        assert name in world.publish()
        assert world.tasks.begin(name, "two", MODEL) is not None

    def test_an_error_of_many_lines(self, world: World) -> None:
        world.worker()
        name = world.publish()[0]
        world.tasks.set_aside(name, "a\nb\x1b[31m" + "x" * 10**6)
        (aside,) = world.tasks.aside(world.campaign)
        assert aside.error.startswith("a b [31mxx")
        assert len(aside.error) == 2000


@pytest.mark.parametrize("kind", [TaskKind.JUDGE, TaskKind.MINIMIZE])
class TestGroups:
    """A judge or minimize task has several programs, until it fails."""

    def begun(self, world: World, kind: TaskKind) -> tuple[TaskName, JudgeWork | MinimizeWork]:
        """The first task of that kind with more than one program."""
        for _ in range(1000):
            world.worker(slots=1)
            for name in world.publish():
                work = world.tasks.begin(name, "one", MODEL)
                assert work is not None
                if name.kind is kind and len(programs(work)) > 1:
                    assert not isinstance(work, BatchWork)
                    return name, work
                world.end(name, work)
        raise AssertionError("none has")

    def test_what_is_begun_again_is_split(self, world: World, kind: TaskKind) -> None:
        name, whole = self.begun(world, kind)
        part = world.tasks.begin(name, "two", MODEL, redelivered=True)
        assert part is not None
        assert programs(part) == {min(programs(whole))}
        world.end(name, part)
        (left,) = (tasks for tasks in world.fleets.status(world.campaign).tasks if tasks.kind == kind)
        assert left.open >= len(programs(whole)) - 1
        self.finish(world)

    def test_a_result_of_the_whole_closes_the_parts(self, world: World, kind: TaskKind) -> None:
        """Its worker was taken for dead, and was not."""
        name, whole = self.begun(world, kind)
        part = world.tasks.begin(name, "two", MODEL, redelivered=True)
        assert part is not None
        before = {tasks.kind: tasks.open for tasks in world.fleets.status(world.campaign).tasks}
        world.end(name, whole)
        after = {tasks.kind: tasks.open for tasks in world.fleets.status(world.campaign).tasks}
        assert before[kind] - after.get(kind, 0) == len(programs(whole))
        world.end(name, part)
        self.finish(world)

    def finish(self, world: World) -> None:
        world.clock.pass_by(seconds=301)
        run_to_the_end(world, random.Random(1))
        assert {what: found[:3] for what, found in world.findings().items()} == EXPECTED
        assert world.fleets.status(world.campaign).tasks == ()


def programs(work: Work) -> set[int]:
    """The seeds of a task's programs."""
    if isinstance(work, BatchWork):
        return set(work.seeds)
    return {one.seed for one in (work.asked if isinstance(work, JudgeWork) else work.heads)}


class TestSetAside:
    def finish(self, world: World, kind: TaskKind) -> None:
        for _ in range(1000):
            world.worker()
            dispatched = world.dispatch()
            if dispatched is None:
                return
            for name in dispatched.publish:
                if name.kind is kind:
                    world.tasks.set_aside(name, "planted")
                else:
                    world.perform(name)
        raise AssertionError("the campaign does not end")

    def test_batches(self, world: World) -> None:
        self.finish(world, TaskKind.BATCH)
        assert (world.fleets.status(world.campaign).programs, world.findings()) == (0, {})

    def test_judgements(self, world: World) -> None:
        self.finish(world, TaskKind.JUDGE)
        status = world.fleets.status(world.campaign)
        assert (status.programs, status.findings, status.unjudged) == (200, 0, 6)

    def test_minimizations_leave_the_finding(self, world: World) -> None:
        self.finish(world, TaskKind.MINIMIZE)
        assert {what: found[:3] for what, found in world.findings().items()} == EXPECTED
        assert all(row.reproducer is None for row in world.store.findings())


@pytest.mark.parametrize("kind", [TaskKind.BATCH, TaskKind.JUDGE])
def test_what_was_set_aside_may_come_all_the_same(world: World, kind: TaskKind) -> None:
    """It failed on one worker while another one, taken for dead, was at it."""
    late: list[tuple[TaskName, Work]] = []
    for _ in range(1000):
        world.worker(slots=2)
        for name in world.publish():
            work = world.tasks.begin(name, "one", MODEL)
            assert work is not None
            if name.kind is kind and name.number > 0 and not late:
                world.tasks.set_aside(name, "planted")
                late.append((name, work))
            else:
                world.end(name, work)
        if late and world.fleets.status(world.campaign).batches > 10:
            break
    assert world.dispatch() is not None, "it goes on beyond what was set aside"
    world.end(*late[0])
    world.clock.pass_by(seconds=301)
    run_to_the_end(world, random.Random(1))
    assert {what: found[:3] for what, found in world.findings().items()} == EXPECTED
    assert world.fleets.status(world.campaign).tasks == ()


@pytest.mark.parametrize("extra", [1, 84 * 2**20])
def test_a_reproducer_that_is_too_large(world: World, extra: int) -> None:
    """Nothing of its task is stored, which can be tried again."""
    body = b" " * (REPRODUCER_BYTES_MAX + extra)
    finding = judged(Trace("divergence", "fewer-flushes", ()))
    huge = Minimal(0, FoundFinding(finding, 1, 100, body), 2, 1, "d")
    name = TaskName(world.campaign, TaskKind.MINIMIZE, 0)
    with pytest.raises(StoreError, match=f"^reproducer of divergence:.*: {len(body)} bytes, at most 16777216 are kept"):
        store_minimals(world.engine, name, [huge], world.clock)
    assert world.findings() == {}


def test_the_first_regression_ends_it(file_engine: Engine) -> None:
    world = World(file_engine, until_regression=True)
    world.worker()
    world.publish()
    run_batch(file_engine, TaskName(world.campaign, TaskKind.BATCH, 0), range(100, 110), world.clock)
    finding = Finding("violation", "stale-tlb", (), "new", "new", (), "none", Verdict.REGRESSION, ("A", "B"), "")
    world.store.record(BatchResult(world.campaign, 1, 110, 10, 1, 0.1, 1, (FoundFinding(finding, 1, 110, None),)))
    dispatched = world.dispatch()
    assert dispatched is not None
    assert dispatched.ended is CampaignState.FINISHED
    assert world.fleets.status(world.campaign).tasks == ()
    assert world.store.finding(signature(finding)) is not None


def test_seconds_count_while_it_runs(file_engine: Engine) -> None:
    world = World(file_engine)
    world.clock.pass_by(seconds=1000)
    world.worker()
    world.publish()
    world.clock.pass_by(seconds=5)
    world.fleets.pause(world.campaign)
    world.clock.pass_by(seconds=1000)
    world.fleets.resume(world.campaign)
    world.worker()
    world.publish()
    world.clock.pass_by(seconds=2)
    assert world.fleets.status(world.campaign).ran_seconds == 7


def test_a_campaign_of_one_run_is_not_steered(world: World) -> None:
    lone = world.store.create_campaign(NIGHTLY)
    with pytest.raises(StoreError, match=f"campaign {lone} was searched by one 'mmufuzz run'"):
        world.fleets.pause(lone)
    with pytest.raises(StoreError, match="no campaign 77"):
        world.fleets.status(77)


def test_occurrences_are_capped_and_counts_go_on(file_engine: Engine) -> None:
    world = World(file_engine, batch_programs=1)
    for number in range(200):
        trace = Trace("divergence", EFFECTS[0], ())
        result = BatchResult(world.campaign, number, 100 + number, 1, 1, 0.1, 1, ())
        store_batch(file_engine, result, (Sighting(trace, (100 + number,)),), world.clock)
    run_to_the_end_without_batches(world, 200)
    (row,) = world.store.findings()
    assert (row.count, row.batches, len(world.occurrences(row.signature))) == (200, 200, OCCURRENCES_MAX)


def run_to_the_end_without_batches(world: World, batches: int) -> None:
    """All batches are stored, though nobody was asked to."""
    for _ in range(1000):
        world.worker()
        dispatched = world.dispatch()
        if dispatched is None:
            assert world.fleets.status(world.campaign).batches == batches
            return
        for name in dispatched.publish:
            world.perform(name)
    raise AssertionError("the campaign does not end")
