# SPDX-License-Identifier: GPL-2.0-only
"""Judgements: from the traces that batches saw to findings, the same whatever order the workers come in.

    fold     goes over the batches by number; of every trace the first program is to be judged, then ever fewer
    judge    tasks of a few programs, any number at a time; its result waits to be settled
    settle   goes over the judgements by number; the first of its cause leads, the others follow it
    minimize tasks of a few leaders; its result is the finding of all who follow, see db.minimals

What a Hunt does one after the other is thereby done by many, with the same outcome: only fold and settle depend on
what was before, and these two keep the order.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update

from db.campaigns import check_campaign, lock_fleet
from db.findings import Showing, count_shown
from db.groups import close_group, grouped
from db.handout import TaskName, new_task
from db.minimals import attach, keep_unminimized
from db.schema import (
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
from db.session import transaction
from fuzzer.judge.docket import is_judged
from fuzzer.judge.finding import Finding
from fuzzer.judge.seen import Trace
from fuzzer.sighting import cause_name
from reference_mmu.record import Record

# Batches folded and judgements settled in one transaction: enough to catch up, few enough to be done in a second.
_FOLDED_MAX = 100
_SETTLED_MAX = 500


def store_judged(engine: Engine, name: TaskName, numbers: Sequence[int], findings: Sequence[Finding]) -> None:
    """Store what judgements came out as; those that were stored before stay as they are.  Raises StoreError."""
    with transaction(engine, "write") as connection:
        check_campaign(connection, name.campaign)
        lock_fleet(connection, name.campaign)
        close_group(connection, name, numbers)
        judgement = (JudgementTable.campaign_id == name.campaign) & (JudgementTable.number == bindparam("judgement"))
        still_open = judgement & (JudgementTable.state == JudgementState.OPEN.value)
        rows = [
            {"judgement": number, "finding": msgspec.to_builtins(finding), "cause": cause_name(finding)}
            for number, finding in zip(numbers, findings, strict=True)
        ]
        judged = update(JudgementTable).where(still_open).values(state=JudgementState.JUDGED.value)
        connection.execute(judged.values(finding=bindparam("finding"), cause=bindparam("cause")), rows)


def fold(connection: Connection, campaign: int, slots: int, now: datetime) -> None:
    """Go on over the batches, with work for so many slots; the caller holds the lock of the campaign."""
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
    counted: _Counted = Counter()
    while number in done or number in aside:
        if number in done:
            judgement += _fold_batch(connection, _Folding(campaign, done[number], judgement, slots), counted, now)
        number += 1
    _count_folded(connection, counted)
    if number > first:
        connection.execute(update(FleetTable).where(fleet).values(next_folded=number, next_judgement=judgement))


def settle(connection: Connection, campaign: int, slots: int, now: datetime) -> None:
    """Go on over the judgements, with work for so many slots; the caller holds the lock of the campaign."""
    fleet = FleetTable.campaign_id == campaign
    table, mine = JudgementTable, JudgementTable.campaign_id == campaign
    aside = _set_aside(connection, campaign, TaskKind.JUDGE)
    waits = (table.state == JudgementState.OPEN.value) & table.task.not_in(aside)
    open_from = connection.execute(select(func.min(table.number)).where(mine, waits)).scalar()
    settled, asked = connection.execute(select(FleetTable.next_settled, FleetTable.next_judgement).where(fleet)).one()
    end = asked if open_from is None else open_from
    # Not from next_settled on: one whose task was set aside may come out all the same, when others are settled.
    query = (
        select(table.id, table.number, table.seed, table.cause)
        .where(mine, table.state == JudgementState.JUDGED.value, table.number < end)
        .order_by(table.number)
        .limit(_SETTLED_MAX)
    )
    judged = [_Judged(*row[:3], row.cause or "") for row in connection.execute(query)]
    _settle(connection, campaign, judged, slots, now)
    reached = end if len(judged) < _SETTLED_MAX else judged[-1].number + 1
    if reached != settled:
        connection.execute(update(FleetTable).where(fleet).values(next_settled=reached))
    given_up = _set_aside(connection, campaign, TaskKind.MINIMIZE)
    if given_up:
        keep_unminimized(connection, campaign, given_up, now)


def _set_aside(connection: Connection, campaign: int, kind: TaskKind) -> set[int]:
    query = select(TaskTable.number).where(
        TaskTable.campaign_id == campaign, TaskTable.kind == kind.value, TaskTable.state == TaskState.ASIDE.value
    )
    return set(connection.execute(query).scalars())


class _Folding(Record):
    """A batch to be folded, by the id of its row; what it asks for gets numbers from `number` on."""

    campaign: int
    batch: int
    number: int
    slots: int


class _Seen(Record):
    """A sighting as stored, with how many programs were counted for its trace before this fold."""

    trace: int
    key: str
    folded: int
    seeds: list[int]


_Counted = Counter[tuple[str, int]]
"""How many programs, by key and id of their trace."""


class _Judged(Record):
    """A judgement, by the id of its row, that is to be settled."""

    judgement: int
    number: int
    seed: int
    cause: str


class _Judge(Record):
    """A judgement that programs are counted at, with its finding if that is known."""

    judgement: int
    finding: int | None


def _fold_batch(connection: Connection, folding: _Folding, counted: _Counted, now: datetime) -> int:
    """Fold one batch, and add what it counts for its traces; returns how many judgements it asks for."""
    batch = folding.batch
    query = (
        select(SightingTable.trace_id, TraceTable.key, TraceTable.folded, SightingTable.seeds)
        .join(TraceTable, TraceTable.id == SightingTable.trace_id)
        .where(SightingTable.batch_id == batch)
        .order_by(SightingTable.id)
    )
    seen = [_Seen(*row) for row in connection.execute(query)]
    last = _last_judges(connection, [one.trace for one in seen])
    kinds = [msgspec.json.decode(one.key, type=Trace).kind for one in seen]
    # As the programs ran: by seed, and what one program showed in the order in which it showed.
    asked = sorted(
        (seed, order)
        for order, one in enumerate(seen)
        for place, seed in enumerate(one.seeds)
        if is_judged(kinds[order], one.folded + counted[one.key, one.trace] + place + 1)
    )
    ids = _ask(connection, folding, [(seen[order].trace, seed) for seed, order in asked])
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
    counted.update({(one.key, one.trace): len(one.seeds) for one in seen})
    connection.execute(delete(SightingTable).where(SightingTable.batch_id == batch))
    return len(asked)


def _count_folded(connection: Connection, counted: _Counted) -> None:
    """Count what was folded: at the end, and not batch by batch, in the order in which db.batches locks these rows;
    else each would wait for the other."""
    rows = [{"trace": trace, "more": more} for (_key, trace), more in sorted(counted.items())]
    if rows:
        this = TraceTable.id == bindparam("trace")
        connection.execute(update(TraceTable).where(this).values(folded=TraceTable.folded + bindparam("more")), rows)


def _ask(connection: Connection, folding: _Folding, asked: list[tuple[int, int]]) -> list[int]:
    """Ask for judgements of (trace, seed); returns the ids of their rows."""
    if not asked:
        return []
    numbered = list(enumerate(asked, folding.number))
    tasks = grouped([(number, seed) for number, (_trace, seed) in numbered], TaskKind.JUDGE, folding.slots)
    rows = [
        {
            "campaign_id": folding.campaign,
            "number": number,
            "trace_id": trace,
            "seed": seed,
            "state": JudgementState.OPEN.value,
            "task": tasks[number],
        }
        for number, (trace, seed) in numbered
    ]
    connection.execute(insert(JudgementTable), rows)
    names = [TaskName(folding.campaign, TaskKind.JUDGE, task) for task in sorted(set(tasks.values()))]
    connection.execute(insert(TaskTable), [new_task(name) for name in names])
    stored = (JudgementTable.campaign_id == folding.campaign) & (JudgementTable.number >= folding.number)
    return list(connection.execute(select(JudgementTable.id).where(stored).order_by(JudgementTable.number)).scalars())


def _last_judges(connection: Connection, traces: list[int]) -> dict[int, _Judge]:
    """The judgement with the highest number, by trace."""
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
    count_shown(connection, {f: [Showing(batch, min(seeds), len(seeds))] for f, seeds in findings.items()}, now)
    if pending:
        connection.execute(insert(PendingOccurrenceTable), pending)


def _settle(connection: Connection, campaign: int, judged: list[_Judged], slots: int, now: datetime) -> None:
    """Attach each judgement to the first one of its cause; one that is the first itself is to be minimized."""
    if not judged:
        return
    leaders = _leaders(connection, campaign, {one.cause for one in judged})
    leading = []
    attached: dict[int, list[int]] = {}
    for one in judged:
        if one.cause not in leaders:
            leaders[one.cause] = _Judge(one.judgement, None)
            leading.append((one.number, one.seed))
        finding = leaders[one.cause].finding
        if finding is not None:
            attached.setdefault(finding, []).append(one.judgement)
    values = {"state": JudgementState.SETTLED.value, "leader_id": bindparam("leader")}
    settled = [{"judgement": one.judgement, "leader": leaders[one.cause].judgement} for one in judged]
    connection.execute(
        update(JudgementTable).where(JudgementTable.id == bindparam("judgement")).values(values), settled
    )
    _ask_minimal(connection, campaign, leading, slots)
    attach(connection, attached, now)


def _ask_minimal(connection: Connection, campaign: int, leading: list[tuple[int, int]], slots: int) -> None:
    """Ask for the minimization of new leaders, (number, seed)."""
    if not leading:
        return
    tasks = grouped(leading, TaskKind.MINIMIZE, slots)
    this = (JudgementTable.campaign_id == campaign) & (JudgementTable.number == bindparam("judgement"))
    rows = [{"judgement": number, "by": task} for number, task in tasks.items()]
    connection.execute(update(JudgementTable).where(this).values(task=bindparam("by")), rows)
    names = [TaskName(campaign, TaskKind.MINIMIZE, task) for task in sorted(set(tasks.values()))]
    connection.execute(insert(TaskTable), [new_task(name) for name in names])


def _leaders(connection: Connection, campaign: int, causes: set[str]) -> dict[str, _Judge]:
    """The leaders of those of the causes that have one."""
    table = JudgementTable
    query = select(table.cause, table.id, table.finding_id).where(
        table.campaign_id == campaign, table.cause.in_(causes), table.leader_id == table.id
    )
    return {cause: _Judge(judgement, finding) for cause, judgement, finding in connection.execute(query) if cause}
