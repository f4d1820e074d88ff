# SPDX-License-Identifier: GPL-2.0-only
"""A finding has the name of the known hole that its stored reproducer shows, from then on; nobody is told of it."""

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise

import msgspec
import pytest
from sqlalchemy import Engine, insert, select

from db import holes
from db.dispatch import Patience, dispatch
from db.fleets import FleetPlan, Fleets
from db.handout import TaskName
from db.listing import ANY_HOLE, NO_HOLE, ListedRow, Listing, Number, Wanted
from db.minimals import Minimal, NewFinding, store_minimals
from db.notifications import Notifications
from db.pace import pace
from db.rechecks import Rechecks, Seen
from db.revisions import back, forward
from db.schema import FindingState, JudgementTable, NotificationTable, TaskKind, TraceTable
from db.session import open_database, transaction
from db.store import Store, VerdictTotal
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Verdict, signature
from fuzzer.reproducer import Reproducer, encode_reproducer
from tests.db.stored import NIGHTLY, OTHER, SECOND, THIRD, VIOLATION, Clock
from tests.fuzzer.test_known_holes import with_munmap
from tests.golden import golden

KNOWN = golden("e500-writable-null")
"""A regression that is known."""
HOLE = "e500-writable-null"
NAME = signature(KNOWN.finding)
LARGE = with_munmap(KNOWN)
"""The same, unminimized: an operation has no part in the hole."""
BOTH = golden("hole-apic-page-gone")
"""A baseline that is known."""


def found(story: Reproducer, finding: Finding | None = None) -> FoundFinding:
    return FoundFinding(finding or story.finding, 1, 100, encode_reproducer(story))


def record(store: Store, *shown: FoundFinding, campaign: int = 0, number: int = 0) -> int:
    campaign = campaign or store.create_campaign(NIGHTLY)
    store.record(BatchResult(campaign, number, 100 * number, 10, 100, 0.5, 40, shown))
    return campaign


def improve(store: Store, story: Reproducer) -> bool:
    return store.improve_reproducer(NAME, encode_reproducer(story), 4, 2, "d")


def known(store: Store) -> dict[str, str]:
    return {row.signature: row.known for row in store.findings()}


def told(engine: Engine) -> set[str]:
    with transaction(engine, "read") as connection:
        return set(connection.execute(select(NotificationTable.signature)).scalars())


class TestName:
    def test_is_told_when_the_reproducer_is_stored(self, clocked_store: Store) -> None:
        record(clocked_store, found(KNOWN), found(BOTH), FoundFinding(VIOLATION, 1, 7, b"{}"))
        names = {NAME: HOLE, signature(BOTH.finding): "x86-apic-page-gone", signature(VIOLATION): ""}
        assert known(clocked_store) == names

    def test_stays_while_the_smallest_story_has_what_the_hole_needs(self, clocked_store: Store) -> None:
        record(clocked_store, found(LARGE))
        assert improve(clocked_store, KNOWN)
        assert known(clocked_store) == {NAME: HOLE}

    def test_goes_if_the_smallest_story_has_more(self, clocked_store: Store, file_engine: Engine) -> None:
        record(clocked_store, found(LARGE))
        assert (known(clocked_store), told(file_engine)) == ({NAME: HOLE}, set())
        assert improve(clocked_store, LARGE)
        assert (known(clocked_store), told(file_engine)) == ({NAME: ""}, {NAME})

    def test_one_that_is_not_better_changes_nothing(self, clocked_store: Store, file_engine: Engine) -> None:
        record(clocked_store, found(KNOWN))
        assert improve(clocked_store, KNOWN)
        assert not improve(clocked_store, LARGE)
        assert (known(clocked_store), told(file_engine)) == ({NAME: HOLE}, set())

    def test_is_not_that_of_a_milder_verdict(self, clocked_store: Store, file_engine: Engine) -> None:
        """The regression has no story yet: what is known is only what both models had."""
        mild = msgspec.structs.replace(KNOWN.finding, verdict=Verdict.UNEXPLAINED)
        campaign = record(clocked_store, found(msgspec.structs.replace(KNOWN, finding=mild)))
        assert (known(clocked_store), told(file_engine)) == ({NAME: HOLE}, set())
        record(clocked_store, FoundFinding(KNOWN.finding, 1, 200, None), campaign=campaign, number=1)
        assert (known(clocked_store), told(file_engine)) == ({NAME: ""}, {NAME})
        record(clocked_store, found(KNOWN), campaign=campaign, number=2)
        assert known(clocked_store) == {NAME: HOLE}

    def test_of_a_fleet(self, file_engine: Engine, clock: Clock) -> None:
        campaign = Fleets(file_engine, clock).create(FleetPlan(10, False, None), NIGHTLY)
        judgement(file_engine, campaign, KNOWN.finding, clock())
        minimal = Minimal(0, found(KNOWN), 4, 2, "d")
        fresh = store_minimals(file_engine, TaskName(campaign, TaskKind.MINIMIZE, 0), [minimal], clock)
        assert fresh == (NewFinding(KNOWN.finding, HOLE),)
        assert told(file_engine) == set()


def judgement(engine: Engine, campaign: int, finding: Finding, now: datetime) -> None:
    """Number 0 of a campaign, which leads and is to be minimized."""
    seen = {"key": "{}", "count": 1, "folded": 1, "first_seed": 100, "first_seen": now, "last_seen": now}
    made = {"number": 0, "trace_id": 1, "seed": 100, "task": 0, "state": "settled", "cause": "c", "leader_id": 1}
    with transaction(engine, "write") as connection:
        connection.execute(insert(TraceTable).values(campaign_id=campaign, **seen))
        connection.execute(
            insert(JudgementTable).values(campaign_id=campaign, finding=msgspec.to_builtins(finding), **made)
        )


def list_no_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holes, "hole_of_file", lambda body, smallest: "")


class TestAnotherVersion:
    """That has other holes in its list."""

    @pytest.fixture
    def rechecks(self, clocked_store: Store, file_engine: Engine, clock: Clock) -> Rechecks:
        record(clocked_store, found(KNOWN))
        return Rechecks(file_engine, OTHER, clock)

    def test_a_recheck_names_anew(
        self, rechecks: Rechecks, clocked_store: Store, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        list_no_holes(monkeypatch)
        rechecks.store(1, Seen(FindingState.OPEN, "shows"), "eve")
        assert (known(clocked_store), told(file_engine)) == ({NAME: ""}, {NAME})

    def test_what_does_not_show_any_more_is_not_announced(
        self, rechecks: Rechecks, clocked_store: Store, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        list_no_holes(monkeypatch)
        rechecks.store(1, Seen(FindingState.FIXED, "does not show"), "eve")
        assert (known(clocked_store), told(file_engine)) == ({NAME: ""}, set())

    @pytest.mark.parametrize("move", [forward, lambda url: open_database(url).dispose()], ids=["alone", "opened"])
    def test_moved_tables_get_the_names(
        self, clocked_store: Store, file_engine: Engine, move: Callable[[str], object]
    ) -> None:
        record(clocked_store, found(BOTH), found(KNOWN), FoundFinding(VIOLATION, 1, 7, b"no reproducer"))
        before = clocked_store.findings()
        url = str(file_engine.url)
        assert back(url, "0007").database == "0007"
        move(url)
        assert clocked_store.findings() == before
        assert [row.known for row in before] == ["", HOLE, "x86-apic-page-gone"]

    def test_tables_that_are_where_they_should_be_get_them_too(
        self, clocked_store: Store, file_engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record(clocked_store, found(KNOWN))
        list_no_holes(monkeypatch)
        forward(str(file_engine.url))
        assert known(clocked_store) == {NAME: ""}


class TestList:
    @pytest.fixture
    def listing(self, clocked_store: Store, file_engine: Engine) -> Listing:
        both = msgspec.structs.replace(SECOND, verdict=Verdict.BASELINE)
        others = (FoundFinding(finding, 1, 7, None) for finding in (VIOLATION, both, THIRD))
        record(clocked_store, found(KNOWN), found(BOTH), *others)
        return Listing(file_engine)

    def names(self, listing: Listing, known: str | None) -> list[str]:
        return [row.known for row in listing.page(Wanted(known=known), "severity", 10, None).rows]

    def test_what_is_known_stands_below_what_both_have(self, listing: Listing, clocked_store: Store) -> None:
        rows = listing.page(Wanted(), "severity", 10, None).rows
        verdicts = [(row.verdict, bool(row.known)) for row in rows]
        assert verdicts[:2] == [(Verdict.REGRESSION, False), (Verdict.BASELINE, False)]
        assert set(verdicts[2:4]) == {(Verdict.REGRESSION, True), (Verdict.BASELINE, True)}
        assert verdicts[4:] == [(Verdict.DOCUMENTED, False)]
        assert [row.signature for row in clocked_store.findings()] == [row.signature for row in rows]

    def test_pages_go_on_behind_it(self, listing: Listing) -> None:
        seen: list[ListedRow] = []
        cursor = None
        for _ in range(5):
            page = listing.page(Wanted(), "severity", 1, cursor)
            seen += page.rows
            cursor = page.cursor
        assert cursor is None
        assert len({row.id for row in seen}) == 5
        assert all(before.rank >= after.rank for before, after in pairwise(seen))

    def test_filters(self, listing: Listing) -> None:
        assert self.names(listing, NO_HOLE) == ["", "", ""]
        assert set(self.names(listing, ANY_HOLE)) == {HOLE, "x86-apic-page-gone"}
        assert self.names(listing, HOLE) == [HOLE]
        assert self.names(listing, "no-such-hole") == []

    def test_numbers_tell_them_apart(self, listing: Listing, clocked_store: Store, file_engine: Engine) -> None:
        regressions = Number("regression", 2, 1)
        assert listing.by_verdict()[0] == pace(file_engine, 1).verdicts[0] == regressions
        assert listing.by_hole() == [Number("", 3, 0), Number(HOLE, 1, 1), Number("x86-apic-page-gone", 1, 1)]
        assert Number(KNOWN.finding.what, 1, 1) in listing.by_what()
        assert Number(KNOWN.finding.patches[0], 1, 1) in listing.by_patch()
        assert clocked_store.totals(1).verdicts[-1] == VerdictTotal(Verdict.REGRESSION, 2, 2, 1)


def test_a_known_regression_ends_no_campaign(file_engine: Engine, clocked_store: Store, clock: Clock) -> None:
    campaign = Fleets(file_engine, clock).create(FleetPlan(10, True, None), NIGHTLY)
    record(clocked_store, found(KNOWN), campaign=campaign)
    moved = dispatch(file_engine, campaign, Patience(60, 300), clock)
    assert moved is not None
    assert moved.ended is None
    record(clocked_store, FoundFinding(VIOLATION, 1, 7, None), campaign=campaign, number=1)
    moved = dispatch(file_engine, campaign, Patience(60, 300), clock)
    assert moved is not None
    assert moved.ended is not None


def test_of_what_nobody_knows_somebody_is_told(clocked_store: Store, file_engine: Engine, clock: Clock) -> None:
    record(clocked_store, found(KNOWN), FoundFinding(VIOLATION, 1, 7, None))
    notices = Notifications(file_engine, clock)
    first = notices.begin(30)
    assert first is not None
    assert first.signature == signature(VIOLATION)
    assert notices.begin(30) is None
