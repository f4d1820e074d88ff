# SPDX-License-Identifier: GPL-2.0-only
"""Lists ask the database no more often when there is more in it, and find their rows by an index."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, event, text

from db.fleets import FleetPlan, Fleets
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Verdict
from tests.db.stored import NIGHTLY


def statements(engine: Engine, call: Callable[[], object]) -> list[str]:
    """The statements of a call, with their values."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    call()
    event.remove(engine, "before_cursor_execute", note)
    return seen


def add_campaign(engine: Engine, number: int) -> None:
    """A campaign with as many findings as its number."""
    campaign = Fleets(engine).create(
        FleetPlan(batch_programs=10, until_regression=False, slots_max=None),
        NIGHTLY,
    )
    sites = [(f"site-{site}", "-") for site in range(number)]
    found = [Finding("violation", "x", (), "new", "new", (), "none", Verdict.REGRESSION, site, "") for site in sites]
    shown = tuple(FoundFinding(finding, 1, 7, b"{}") for finding in found)
    Store(engine).record(BatchResult(campaign, 0, 0, 10, 100, 0.1, 7, shown))


def test_as_many_statements_whatever_there_is(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    fleets, store = Fleets(engine), Store(engine)
    calls: list[Callable[[], object]] = [lambda: fleets.statuses(50), store.findings, store.unjudged]
    add_campaign(engine, 1)
    few = [len(statements(engine, call)) for call in calls]
    for number in range(2, 20):
        add_campaign(engine, number)
    assert [len(statements(engine, call)) for call in calls] == few


def test_findings_come_in_the_order_of_an_index(tmp_path: Path) -> None:
    """Of ten thousand only the first page is read; a sort would have to see all."""
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    add_campaign(engine, 3)
    with engine.connect() as connection:
        plan = connection.execute(
            text("EXPLAIN QUERY PLAN SELECT * FROM findings ORDER BY rank DESC, last_seen DESC, id DESC LIMIT 100")
        )
        steps = [row[-1] for row in plan]
    assert any("ix_findings_rank_last_seen" in step for step in steps), steps
    assert not any("TEMP B-TREE FOR ORDER BY" in step for step in steps), steps
