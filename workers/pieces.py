# SPDX-License-Identifier: GPL-2.0-only
"""What a worker does for one task, without broker and queue: work in, stored result out."""

import time
from itertools import groupby

from sqlalchemy import Engine

from db.batches import store_batch
from db.handout import TaskName
from db.judgements import store_judged
from db.minimals import Minimal, store_minimals
from db.session import utc_now
from db.tasks import BatchWork, CauseHead, JudgeWork, MinimizeWork, Work
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding
from fuzzer.reproducer import decode_reproducer
from fuzzer.seed_runner import SeedRunner, runner_of
from fuzzer.sighting import Gathering, judge_sightings, minimize_sighting
from workers import metrics
from workers.allowance import allowance
from workers.glimpses import Glimpses
from workers.metrics import BatchEnd, Known, count_sightings
from workers.permits import Permit


class Reached:
    """What the batches of this process have reached; the library can set a gauge, but not raise it."""

    coverage = 0


def perform(engine: Engine, name: TaskName, work: Work, permit: Permit) -> None:
    """Do the work, give the permit back, and store the result in one transaction.  Raises StoreError."""
    runner = runner_of(work.campaign.search)
    match work:
        case BatchWork():
            _run_batch(engine, name, runner, work, permit)
        case JudgeWork():
            _judge(engine, name, runner, work, permit)
        case MinimizeWork():
            _minimize(engine, name, runner, work, permit)


def _run_batch(engine: Engine, name: TaskName, runner: SeedRunner, work: BatchWork, permit: Permit) -> None:
    started = time.monotonic()
    gathering, glimpses = Gathering(runner), Glimpses(engine, name.campaign)
    with allowance(work.memory_mib):
        for seed in work.seeds:
            glimpses.note(seed, gathering.run(seed))
        seen = gathering.sightings()
    result = BatchResult(
        campaign=name.campaign,
        number=name.number,
        seed_first=work.seeds.start,
        programs=gathering.ground.programs,
        steps=gathering.ground.steps,
        seconds=time.monotonic() - started,
        coverage=len(gathering.ground.coverage),
        findings=(),
    )
    permit.end()
    fresh = store_batch(engine, result, seen)
    metrics.BATCHES.labels((BatchEnd.DONE if fresh else BatchEnd.REPEATED).value).inc()
    if fresh:
        metrics.PROGRAMS.inc(result.programs)
        metrics.STEPS.inc(result.steps)
        metrics.BATCH_SECONDS.observe(result.seconds)
        metrics.COVERAGE.set(max(result.coverage, Reached.coverage))
        Reached.coverage = max(result.coverage, Reached.coverage)
        count_sightings(seen)


def _minimize(engine: Engine, name: TaskName, runner: SeedRunner, work: MinimizeWork, permit: Permit) -> None:
    with allowance(work.memory_mib):
        minimals = [_minimal(runner, head) for head in work.heads]
    permit.end()
    for fresh in store_minimals(engine, name, minimals):
        known = Known.YES if fresh.known else Known.NO
        metrics.FINDINGS.labels(fresh.finding.verdict.value, fresh.finding.kind, known.value).inc()
        metrics.DETECTION_SECONDS.observe((utc_now() - work.campaign.created_at).total_seconds())


def _judge(engine: Engine, name: TaskName, runner: SeedRunner, work: JudgeWork, permit: Permit) -> None:
    findings: list[Finding] = []
    with allowance(work.memory_mib):
        for seed, together in groupby(work.asked, key=lambda one: one.seed):
            findings += judge_sightings(runner, seed, [one.trace for one in together])
    permit.end()
    store_judged(engine, name, [one.number for one in work.asked], findings)


def _minimal(runner: SeedRunner, head: CauseHead) -> Minimal:
    with metrics.MINIMIZATION_SECONDS.time():
        found = minimize_sighting(runner, head.seed, head.trace, head.finding)
    body = found.reproducer
    digest = None if body is None else decode_reproducer(body).digest
    shown = FoundFinding(found.finding, 1, found.first_seed, body)
    return Minimal(head.number, shown, found.operations, found.preemptions, digest)
