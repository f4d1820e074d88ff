# SPDX-License-Identifier: GPL-2.0-only
"""Minimals: what minimization makes of a leader is the finding of all judgements that follow it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import Connection, Engine, bindparam, delete, select, update

from db.campaigns import check_campaign, lock_fleet
from db.findings import Showing, check_size, count_shown, keep_reproducers, show_findings, stored_signatures
from db.groups import close_group, is_to_do
from db.handout import TaskName
from db.notifications import note_findings
from db.schema import SEVERITY, BatchTable, FindingTable, JudgementTable, PendingOccurrenceTable, TaskKind
from db.session import transaction, utc_now
from fuzzer.judge.finding import Finding, FoundFinding, signature
from reference_mmu.record import Record


class Minimal(Record):
    """What minimization made of judgement `number`; sizes and digest are those of `found.reproducer`."""

    number: int
    found: FoundFinding
    operations: int
    preemptions: int
    digest: str | None


class NewFinding(Record):
    """A finding of a signature that its campaign did not have; `known`: the known hole that it is, "" if it is none."""

    finding: Finding
    known: str


def store_minimals(
    engine: Engine, name: TaskName, minimals: Sequence[Minimal], now: Callable[[], datetime] = utc_now
) -> tuple[NewFinding, ...]:
    """Store the findings of some leaders and of all who follow them, with what is counted for them so far.

    Those that were stored before stay as they are.  Returns the findings of signatures that the campaign did not have.
    Raises StoreError.
    """
    for minimal in minimals:
        check_size(signature(minimal.found.finding), minimal.found.reproducer)
    with transaction(engine, "write") as connection:
        check_campaign(connection, name.campaign)
        lock_fleet(connection, name.campaign)
        close_group(connection, name, [minimal.number for minimal in minimals])
        leaders = _unstored(connection, name.campaign, [minimal.number for minimal in minimals])
        fresh = [minimal for minimal in minimals if minimal.number in leaders]
        by_signature = {signature(minimal.found.finding): minimal.found.finding for minimal in fresh}
        stored = stored_signatures(connection, name.campaign, by_signature)
        at = now()
        ids = _show(connection, name.campaign, {leaders[minimal.number]: minimal.found for minimal in fresh}, at)
        bodies = [
            _reproducer_values(ids[leaders[minimal.number]], minimal, at)
            for minimal in fresh
            if minimal.found.reproducer is not None
        ]
        keep_reproducers(connection, bodies)
        note_findings(connection, set(ids.values()), at)
        holes = _holes(connection, set(ids.values()))
        return tuple(NewFinding(one, holes.get(name, "")) for name, one in by_signature.items() if name not in stored)


def keep_unminimized(connection: Connection, campaign: int, tasks: Collection[int], now: datetime) -> None:
    """Store the findings of minimize tasks that were given up: they are findings, too."""
    table = JudgementTable
    these = (table.campaign_id == campaign) & table.task.in_(tasks) & is_to_do(TaskKind.MINIMIZE)
    rows = connection.execute(select(table.id, table.seed, table.finding).where(these).order_by(table.number))
    found = {row.id: FoundFinding(msgspec.convert(row.finding, Finding), 1, row.seed, None) for row in rows}
    ids = _show(connection, campaign, found, now)
    note_findings(connection, set(ids.values()), now)


def attach(connection: Connection, judgements: Mapping[int, Sequence[int]], now: datetime) -> None:
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
    shown: dict[int, dict[int, Showing]] = {finding: {} for finding in judgements}
    for judgement, batch, seed, count in connection.execute(query):
        some = shown[finding_of[judgement]]
        before = some.get(batch, Showing(batch, seed, 0))
        some[batch] = Showing(batch, min(before.program_seed, seed), before.count + count)
    count_shown(connection, {finding: some.values() for finding, some in shown.items()}, now)
    connection.execute(delete(pending).where(pending.judgement_id.in_(finding_of)))
    this = update(JudgementTable).where(JudgementTable.id == bindparam("judgement"))
    rows = [{"judgement": judgement, "finding_row": finding} for judgement, finding in finding_of.items()]
    connection.execute(this.values(finding_id=bindparam("finding_row")), rows)


def _unstored(connection: Connection, campaign: int, numbers: Sequence[int]) -> dict[int, int]:
    """The ids of those of the leaders that have no finding yet."""
    table = JudgementTable
    query = select(table.number, table.id).where(
        table.campaign_id == campaign, table.number.in_(numbers), table.finding_id.is_(None)
    )
    return {row.number: row.id for row in connection.execute(query)}


def _show(connection: Connection, campaign: int, found: Mapping[int, FoundFinding], now: datetime) -> dict[int, int]:
    """Store the finding of each leader, for all who follow it; returns the ids of the findings' rows by leader."""
    if not found:
        return {}
    ids = show_findings(connection, campaign, found.values(), now)
    finding_of = {leader: ids[signature(one.finding)] for leader, one in found.items()}
    judgements: dict[int, list[int]] = {}
    followers = select(JudgementTable.leader_id, JudgementTable.id).where(JudgementTable.leader_id.in_(found))
    for leader, judgement in connection.execute(followers):
        assert leader is not None, "it is one of those that were found"
        judgements.setdefault(finding_of[leader], []).append(judgement)
    attach(connection, judgements, now)
    return finding_of


def _holes(connection: Connection, findings: Collection[int]) -> dict[str, str]:
    """The names of those of the findings that are known holes, by signature."""
    table = FindingTable
    query = select(table.signature, table.known).where(table.id.in_(findings), table.known.is_not(None))
    return {row.signature: str(row.known) for row in connection.execute(query)}


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
