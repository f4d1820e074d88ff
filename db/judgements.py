# SPDX-License-Identifier: GPL-2.0-only
"""Judgements: from the traces that batches saw to findings, the same whatever order the workers come in.

    fold     goes over the batches by number; of every trace the programs number 1, 2, 4, 8, … are to be judged
    judge    tasks of a few programs, any number at a time; its result waits to be settled
    settle   goes over the judgements by number; the first of its cause leads, the others follow it
    minimize a task, one per leader; its result is the finding of all who follow

What a Hunt does one after the other is thereby done by many, with the same outcome: only fold and settle depend on
what was before, and these two keep the order.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from db.campaigns import check_campaign
from db.findings import Shown, check_size, count_shown, has_finding, keep_better, show_finding
from db.schema import (
    SEVERITY,
    BatchTable,
    FleetTable,
    JudgementState,
    JudgementTable,
    PendingOccurrenceTable,
    SightingTable,
    TaskKind,
    TaskState,
    TaskTable,
    TraceTable,
)
from db.session import transaction, utc_now
from db.tasks import TaskName, close_task, new_task
from fuzzer.finding import Finding, FoundFinding, signature
from fuzzer.sighting import cause_name, is_judged

# Batches folded and judgements settled in one transaction: enough to catch up, few enough to be done in a second.
_FOLDED_MAX = 100
_SETTLED_MAX = 500
# A program is judged in some hundredths of a second, compiled, and a task costs as much; interpreted, such a task is
# still far from the time limits.
_PROGRAMS_PER_TASK = 32


class Stored(Enum):
    """What storing a minimized finding came to."""

    NOTHING = auto()
    """It was stored before."""
    KNOWN = auto()
    """A finding of its signature was there."""
    NEW = auto()


class Minimal(msgspec.Struct, frozen=True):
    """What minimization made of a judged finding; sizes and digest are those of `found.reproducer`."""

    found: FoundFinding
    operations: int
    preemptions: int
    digest: str | None


def store_judged(engine: Engine, name: TaskName, numbers: Sequence[int], findings: Sequence[Finding]) -> None:
    """Store what judgements came out as; those that were stored before stay as they are.  Raises StoreError."""
    with transaction(engine, "write") as connection:
        check_campaign(connection, name.campaign)
        close_task(connection, name)
        judgement = (JudgementTable.campaign_id == name.campaign) & (JudgementTable.number == bindparam("judgement"))
        still_open = judgement & (JudgementTable.state == JudgementState.OPEN.value)
        rows = [
            {"judgement": number, "finding": msgspec.to_builtins(finding), "cause": cause_name(finding)}
            for number, finding in zip(numbers, findings, strict=True)
        ]
        if rows:
            judged = update(JudgementTable).where(still_open).values(state=JudgementState.JUDGED.value)
            connection.execute(judged.values(finding=bindparam("finding"), cause=bindparam("cause")), rows)


def store_minimal(engine: Engine, name: TaskName, minimal: Minimal, now: Callable[[], datetime] = utc_now) -> Stored:
    """Store the finding of a leader and of all who follow it, with what is counted for them so far.

    Nothing changes if it was stored before.  Raises StoreError.
    """
    found = minimal.found
    check_size(signature(found.finding), found.reproducer)
    with transaction(engine, "write") as connection:
        check_campaign(connection, name.campaign)
        lock_fleet(connection, name.campaign)
        close_task(connection, name)
        leader = connection.execute(
            select(JudgementTable.id, JudgementTable.finding_id).where(
                JudgementTable.campaign_id == name.campaign, JudgementTable.number == name.number
            )
        ).one()
        if leader.finding_id is not None:
            return Stored.NOTHING
        at = now()
        known = has_finding(connection, name.campaign, signature(found.finding))
        finding = show_finding(connection, name.campaign, found.finding, found.first_seed, at)
        _attach(connection, {finding: _followers(connection, leader.id)}, at)
        if found.reproducer is not None:
            connection.execute(keep_better(connection), _reproducer_values(finding, minimal, at))
        return Stored.KNOWN if known else Stored.NEW


def lock_fleet(connection: Connection, campaign: int) -> None:
    """Wait for the lock of a campaign, see FleetTable."""
    connection.execute(select(FleetTable.campaign_id).where(FleetTable.campaign_id == campaign).with_for_update())


def fold(connection: Connection, campaign: int, now: datetime) -> None:
    """Go on over the batches; the caller holds the lock of the campaign."""
    fleet = FleetTable.campaign_id == campaign
    number, judgement = connection.execute(select(FleetTable.next_folded, FleetTable.next_judgement).where(fleet)).one()
    query = (
        select(BatchTable.number, BatchTable.id)
        .where(BatchTable.campaign_id == campaign, BatchTable.number >= number)
        .order_by(BatchTable.number)
        .limit(_FOLDED_MAX)
    )
    done = {batch.number: batch.id for batch in connection.execute(query)}
    aside = _set_aside(connection, campaign, TaskKind.BATCH)
    first = number
    while number in done or number in aside:
        if number in done:
            judgement += _fold_batch(connection, campaign, done[number], judgement, now)
        number += 1
    if number > first:
        connection.execute(update(FleetTable).where(fleet).values(next_folded=number, next_judgement=judgement))


def settle(connection: Connection, campaign: int, now: datetime) -> None:
    """Go on over the judgements; the caller holds the lock of the campaign."""
    fleet = FleetTable.campaign_id == campaign
    number = connection.execute(select(FleetTable.next_settled).where(fleet)).scalar_one()
    mine = JudgementTable.campaign_id == campaign
    aside = _set_aside(connection, campaign, TaskKind.JUDGE)
    waits = (JudgementTable.state == JudgementState.OPEN.value) & JudgementTable.task.not_in(aside)
    end = connection.execute(select(func.min(JudgementTable.number)).where(mine, waits)).scalar()
    query = (
        select(JudgementTable.id, JudgementTable.number, JudgementTable.state, JudgementTable.cause)
        .where(mine, JudgementTable.number >= number)
        .order_by(JudgementTable.number)
        .limit(_SETTLED_MAX)
    )
    if end is not None:
        query = query.where(JudgementTable.number < end)
    rows = connection.execute(query).all()
    if rows:
        judged = [(row.id, row.number, row.cause) for row in rows if row.state == JudgementState.JUDGED]
        _settle(connection, campaign, judged, now)
        connection.execute(update(FleetTable).where(fleet).values(next_settled=rows[-1].number + 1))
    for number in sorted(_set_aside(connection, campaign, TaskKind.MINIMIZE)):
        _keep_unminimized(connection, campaign, number, now)


def _set_aside(connection: Connection, campaign: int, kind: TaskKind) -> set[int]:
    query = select(TaskTable.number).where(
        TaskTable.campaign_id == campaign, TaskTable.kind == kind.value, TaskTable.state == TaskState.ASIDE.value
    )
    return set(connection.execute(query).scalars())


class _Seen(msgspec.Struct, frozen=True):
    """A sighting as stored, with how many programs are counted for its trace before."""

    trace: int
    key: str
    folded: int
    seeds: list[int]


class _Judge(msgspec.Struct, frozen=True):
    """A judgement that programs are counted at, with its finding if that is known."""

    judgement: int
    finding: int | None


def _fold_batch(connection: Connection, campaign: int, batch: int, number: int, now: datetime) -> int:
    """Fold one batch; returns how many judgements, from `number` on, it asks for."""
    query = (
        select(SightingTable.trace_id, TraceTable.key, TraceTable.folded, SightingTable.seeds)
        .join(TraceTable, TraceTable.id == SightingTable.trace_id)
        .where(SightingTable.batch_id == batch)
        .order_by(SightingTable.id)
    )
    seen = [_Seen(*row) for row in connection.execute(query)]
    last = _last_judges(connection, [one.trace for one in seen])
    # As the programs ran: by seed, and what one program showed in the order in which it showed.
    asked = sorted(
        (seed, order)
        for order, one in enumerate(seen)
        for place, seed in enumerate(one.seeds)
        if is_judged(one.folded + place + 1)
    )
    ids = _ask(connection, campaign, number, [(seen[order].trace, seed) for seed, order in asked])
    fresh = {
        (seen[order].trace, seed): _Judge(judgement, None) for (seed, order), judgement in zip(asked, ids, strict=True)
    }
    shown: dict[_Judge, list[int]] = {}
    for one in seen:
        judge = last.get(one.trace)
        for seed in one.seeds:
            judge = fresh.get((one.trace, seed), judge)
            assert judge is not None, "the first program of a trace is judged"
            shown.setdefault(judge, []).append(seed)
    _count(connection, batch, shown, now)
    # In the order in which db.batches locks these rows.
    folded = [{"trace": one.trace, "more": len(one.seeds)} for one in sorted(seen, key=lambda one: one.key)]
    if folded:
        this = TraceTable.id == bindparam("trace")
        connection.execute(update(TraceTable).where(this).values(folded=TraceTable.folded + bindparam("more")), folded)
    connection.execute(delete(SightingTable).where(SightingTable.batch_id == batch))
    return len(asked)


def _ask(connection: Connection, campaign: int, number: int, asked: list[tuple[int, int]]) -> list[int]:
    """Ask for judgements of (trace, seed), numbered from `number` on; returns the ids of their rows."""
    if not asked:
        return []
    numbers = range(number, number + len(asked))
    tasks = _shared_tasks(number, [seed for _trace, seed in asked])
    rows = [
        {
            "campaign_id": campaign,
            "number": n,
            "trace_id": trace,
            "seed": seed,
            "state": JudgementState.OPEN.value,
            "task": task,
        }
        for n, task, (trace, seed) in zip(numbers, tasks, asked, strict=True)
    ]
    connection.execute(insert(JudgementTable), rows)
    names = [TaskName(campaign, TaskKind.JUDGE, task) for task in sorted(set(tasks))]
    connection.execute(insert(TaskTable), [new_task(name) for name in names])
    stored = (JudgementTable.campaign_id == campaign) & (JudgementTable.number >= number)
    return list(connection.execute(select(JudgementTable.id).where(stored).order_by(JudgementTable.number)).scalars())


def _shared_tasks(number: int, seeds: list[int]) -> list[int]:
    """Which task makes each judgement, by its first one: one program is one task's, a task has a few programs."""
    tasks: list[int] = []
    programs: set[int] = set()
    for place, seed in enumerate(seeds):
        if not tasks or (seed not in programs and len(programs) == _PROGRAMS_PER_TASK):
            programs = set()
            tasks.append(number + place)
        else:
            tasks.append(tasks[-1])
        programs.add(seed)
    return tasks


def _last_judges(connection: Connection, traces: list[int]) -> dict[int, _Judge]:
    """Of each trace the judgement with the highest number."""
    query = (
        select(JudgementTable.trace_id, JudgementTable.id, JudgementTable.finding_id)
        .where(JudgementTable.trace_id.in_(traces))
        .order_by(JudgementTable.number)
    )
    return {trace: _Judge(judgement, finding) for trace, judgement, finding in connection.execute(query)}


def _count(connection: Connection, batch: int, shown: dict[_Judge, list[int]], now: datetime) -> None:
    """Count the programs of a batch, at the finding or, while there is none, at the judgement."""
    findings: dict[int, list[int]] = {}
    pending = []
    for judge, seeds in shown.items():
        if judge.finding is not None:
            findings.setdefault(judge.finding, []).extend(seeds)
        else:
            one = {"judgement_id": judge.judgement, "batch_id": batch, "program_seed": min(seeds), "count": len(seeds)}
            pending.append(one)
    count_shown(connection, {f: [Shown(batch, min(seeds), len(seeds))] for f, seeds in findings.items()}, now)
    if pending:
        connection.execute(insert(PendingOccurrenceTable), pending)


def _settle(connection: Connection, campaign: int, judged: list[tuple[int, int, str]], now: datetime) -> None:
    """Have each judgement, (id, number, cause), follow the leader of its cause, or be it and ask for minimization."""
    if not judged:
        return
    leaders = _leaders(connection, campaign, {cause for _judgement, _number, cause in judged})
    settled: list[dict[str, object]] = []
    tasks: list[TaskName] = []
    attached: dict[int, list[int]] = {}
    for judgement, number, cause in judged:
        if cause not in leaders:
            leaders[cause] = _Judge(judgement, None)
            tasks.append(TaskName(campaign, TaskKind.MINIMIZE, number))
        leader = leaders[cause]
        settled.append({"judgement": judgement, "leader": leader.judgement})
        if leader.finding is not None:
            attached.setdefault(leader.finding, []).append(judgement)
    values = {"state": JudgementState.SETTLED.value, "leader_id": bindparam("leader")}
    this = JudgementTable.id == bindparam("judgement")
    connection.execute(update(JudgementTable).where(this).values(values), settled)
    if tasks:
        connection.execute(insert(TaskTable), [new_task(name) for name in tasks])
    _attach(connection, attached, now)


def _leaders(connection: Connection, campaign: int, causes: set[str]) -> dict[str, _Judge]:
    """The leaders of those of the causes that have one."""
    table = JudgementTable
    query = select(table.cause, table.id, table.finding_id).where(
        table.campaign_id == campaign, table.cause.in_(causes), table.leader_id == table.id
    )
    return {cause: _Judge(judgement, finding) for cause, judgement, finding in connection.execute(query) if cause}


def _keep_unminimized(connection: Connection, campaign: int, number: int, now: datetime) -> None:
    """A finding whose minimization was given up is a finding, too."""
    judgement = connection.execute(
        select(JudgementTable).where(JudgementTable.campaign_id == campaign, JudgementTable.number == number)
    ).mappings()
    row = judgement.one()
    if row["finding_id"] is None:
        shown = show_finding(connection, campaign, msgspec.convert(row["finding"], Finding), row["seed"], now)
        _attach(connection, {shown: _followers(connection, row["id"])}, now)


def _followers(connection: Connection, leader: int) -> list[int]:
    """The judgements of one cause, the leader included."""
    return list(connection.execute(select(JudgementTable.id).where(JudgementTable.leader_id == leader)).scalars())


def _attach(connection: Connection, judgements: Mapping[int, Sequence[int]], now: datetime) -> None:
    """Say of each finding which judgements are it, and count there what is counted at them."""
    finding_of = {judgement: finding for finding, some in judgements.items() for judgement in some}
    if not finding_of:
        return
    pending = PendingOccurrenceTable
    query = (
        select(pending.judgement_id, pending.batch_id, pending.program_seed, pending.count)
        .join(BatchTable, BatchTable.id == pending.batch_id)
        .where(pending.judgement_id.in_(finding_of))
        .order_by(BatchTable.number)
    )
    shown: dict[int, dict[int, Shown]] = {finding: {} for finding in judgements}
    for judgement, batch, seed, count in connection.execute(query):
        some = shown[finding_of[judgement]]
        before = some.get(batch, Shown(batch, seed, 0))
        some[batch] = Shown(batch, min(before.program_seed, seed), before.count + count)
    count_shown(connection, {finding: some.values() for finding, some in shown.items()}, now)
    connection.execute(delete(pending).where(pending.judgement_id.in_(finding_of)))
    for finding, some_judgements in judgements.items():
        these = JudgementTable.id.in_(some_judgements)
        connection.execute(update(JudgementTable).where(these).values(finding_id=finding))


def _reproducer_values(finding: int, minimal: Minimal, now: datetime) -> dict[str, object]:
    return {
        "finding_id": finding,
        "program_seed": minimal.found.first_seed,
        "severity": SEVERITY[minimal.found.finding.verdict],
        "body": minimal.found.reproducer,
        "minimized": True,
        "operations": minimal.operations,
        "preemptions": minimal.preemptions,
        "digest": minimal.digest,
        "stored_at": now,
    }
