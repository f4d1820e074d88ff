# SPDX-License-Identifier: GPL-2.0-only
"""Groups: a judge or minimize task is one for a few judgements, since some take less time than a task costs.

Who belongs to a task stands at the judgements.  Nothing but the cost depends on it: a group whose task is begun a
second time is split, so that one that kills its worker, or takes for ever, keeps no other from its result.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, update

from db.handout import TaskName, close_task, new_task
from db.schema import JudgementState, JudgementTable, TaskKind, TaskTable

# A program is judged in some milliseconds, compiled, and minimized in some hundredths of a second; a task costs up to a
# tenth of one, servers included.  Interpreted, such a task is still far from the time limits.
_PROGRAMS_MAX: Final = {TaskKind.JUDGE: 128, TaskKind.MINIMIZE: 48}


def grouped(judgements: Sequence[tuple[int, int]], kind: TaskKind, slots: int) -> dict[int, int]:
    """The task of each judgement, (number, seed) in order, by the first number of its group.

    One program is one task's, and as long as there is little to do, every slot gets some of it.
    """
    programs = len({seed for _number, seed in judgements})
    most = max(1, min(_PROGRAMS_MAX[kind], programs // max(1, slots)))
    tasks: dict[int, int] = {}
    task, group = 0, set[int]()
    for number, seed in judgements:
        if not group or (seed not in group and len(group) == most):
            task, group = number, set()
        group.add(seed)
        tasks[number] = task
    return tasks


def members(name: TaskName) -> ColumnElement[bool]:
    """The judgements that a task is still to make, or to minimize."""
    mine = (JudgementTable.campaign_id == name.campaign) & (JudgementTable.task == name.number)
    return mine & is_to_do(name.kind)


def split(connection: Connection, name: TaskName) -> None:
    """Leave a task its first program, and make tasks of the others; the caller holds the lock of the campaign."""
    table = JudgementTable
    query = select(table.number, table.seed).where(members(name)).order_by(table.number)
    firsts: dict[int, int] = {}
    rows = [(number, firsts.setdefault(seed, number)) for number, seed in connection.execute(query)]
    others = [{"judgement": number, "by": first} for number, first in rows if first != rows[0][0]]
    if not others:
        return
    this = (table.campaign_id == name.campaign) & (table.number == bindparam("judgement"))
    connection.execute(update(table).where(this).values(task=bindparam("by")), others)
    names = [TaskName(name.campaign, name.kind, first) for first in firsts.values() if first != rows[0][0]]
    connection.execute(insert(TaskTable), [new_task(one) for one in names])


def close_group(connection: Connection, name: TaskName, numbers: Sequence[int]) -> None:
    """Close the tasks of judgements whose results are stored in this transaction: one, unless it was split meanwhile.

    The caller holds the lock of the campaign.
    """
    table = JudgementTable
    these = (table.campaign_id == name.campaign) & table.number.in_(numbers) & is_to_do(name.kind)
    tasks = connection.execute(select(table.task).where(these).distinct()).scalars()
    for task in sorted({name.number, *tasks}):
        close_task(connection, TaskName(name.campaign, name.kind, task))


def is_to_do(kind: TaskKind) -> ColumnElement[bool]:
    """Condition on a judgement: it is still to be made or, if it leads its cause, to be minimized."""
    table = JudgementTable
    if kind is TaskKind.JUDGE:
        return table.state == JudgementState.OPEN.value
    return (table.leader_id == table.id) & table.finding_id.is_(None)
