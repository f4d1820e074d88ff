# SPDX-License-Identifier: GPL-2.0-only
"""Findings as a list: order, pages, filters; 10 000 of them; and growth."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, insert

from db.growth import POINTS_MAX, growth
from db.listing import BadCursor, ListedRow, Listing, Sort, Wanted
from db.schema import SEVERITY, BatchTable, FindingTable
from db.session import StoreError, open_database, transaction
from db.store import Store
from fuzzer.judge.finding import Verdict
from tests.db.stored import NIGHTLY

START = datetime(2026, 1, 1, tzinfo=UTC)
PATCHES = ("age-elides-tlb-flush", "age-elides-tlb-flush-more", "always-dirty-if-writable")
SORTS: tuple[Sort, ...] = ("severity", "last-seen", "first-seen", "count", "what")


def make_campaign(engine: Engine) -> None:
    Store(engine).create_campaign(NIGHTLY)


def rows(number: int) -> Iterator[dict[str, object]]:
    verdicts = list(Verdict)
    for n in range(number):
        verdict = verdicts[n % len(verdicts)]
        yield {
            "campaign_id": 1, "signature": f"signature:{n}", "kind": "divergence", "what": f"effect-{n % 7}",
            "effects": [f"effect-{n % 7}"], "side": "both", "leader": "old", "patches": [PATCHES[n % 3]],
            "direction": "sufficient", "verdict": verdict.value, "sites": ["-", "-"], "story": f"story {n} 100%",
            "severity": SEVERITY[verdict], "state": "open", "count": n % 11, "batches": 1, "first_seed": n,
            "first_seen": START + timedelta(seconds=n % 13), "last_seen": START + timedelta(seconds=n % 5),
            "rank": SEVERITY[verdict],
        }  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('listing') / 'mmufuzz.db'}")
    make_campaign(engine)
    with transaction(engine, "write") as connection:
        connection.execute(insert(FindingTable), list(rows(10_000)))
    yield engine
    engine.dispose()


def walk(listing: Listing, wanted: Wanted, sort: Sort, limit: int) -> Iterator[ListedRow]:
    cursor: str | None = None
    for _ in count():
        page = listing.page(wanted, sort, limit, cursor)
        yield from page.rows
        cursor = page.cursor
        if cursor is None:
            return


@pytest.mark.parametrize("sort", SORTS)
def test_pages_add_up_to_the_whole_list_in_order(engine: Engine, sort: Sort) -> None:
    found = list(walk(Listing(engine), Wanted(verdict=Verdict.FIXED), sort, 200))
    assert len({row.id for row in found}) == len(found) == 1667
    key = {
        "severity": lambda row: (row.severity, row.last_seen, row.id),
        "last-seen": lambda row: (row.last_seen, row.id),
        "first-seen": lambda row: (row.first_seen, row.id),
        "count": lambda row: (row.count, row.id),
        "what": lambda row: (row.what, row.id),
    }[sort]
    assert found == sorted(found, key=key, reverse=sort != "what")


def test_a_row_that_comes_in_meanwhile_hides_no_other(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    make_campaign(engine)
    made = list(rows(30))
    with transaction(engine, "write") as connection:
        connection.execute(insert(FindingTable), made[:20])
    first = Listing(engine).page(Wanted(), "severity", 10, None)
    with transaction(engine, "write") as connection:
        connection.execute(insert(FindingTable), made[20:])
    rest: list[ListedRow] = []
    cursor = first.cursor
    while cursor is not None:
        page = Listing(engine).page(Wanted(), "severity", 10, cursor)
        rest.extend(page.rows)
        cursor = page.cursor
    seen = [row.id for row in (*first.rows, *rest)]
    assert len(seen) == len(set(seen))
    assert set(range(1, 21)) <= set(seen)
    engine.dispose()


def test_filters(engine: Engine) -> None:
    def total(**wanted: object) -> int:
        return Listing(engine).page(msgspec.convert(wanted, Wanted), "severity", 1, None).total

    assert total() == 10_000
    assert total(patch=PATCHES[0]) == 3334
    assert total(patch="%") == total(patch="age-elides") == 0
    assert total(what="effect-3") == len(range(3, 10_000, 7))
    assert total(text="STORY 123 ") == 1
    assert total(text="100%") == 10_000
    assert total(text="100_") == 0
    assert total(campaign=2) == 0
    assert total(since=START + timedelta(seconds=4)) == 2000
    with pytest.raises(StoreError, match="at most 200 characters"):
        total(text="x" * 201)


def test_numbers_by_name(engine: Engine) -> None:
    listing = Listing(engine)
    assert [number.name for number in listing.by_verdict()] == [str(verdict) for verdict in reversed(SEVERITY)]
    assert sum(number.findings for number in listing.by_verdict()) == 10_000
    assert {number.name: number.findings for number in listing.by_patch()}[PATCHES[1]] == 3333
    assert [number.name for number in listing.by_what()] == [f"effect-{n}" for n in range(7)]


@pytest.mark.parametrize("cursor", ["", "x", "bm90", "WzEsMl0", "ä", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwxXQ"])
def test_a_forged_cursor_is_refused(engine: Engine, cursor: str) -> None:
    with pytest.raises(BadCursor):
        Listing(engine).page(Wanted(), "last-seen", 10, cursor)


def test_the_cursor_of_another_order_is_refused(engine: Engine) -> None:
    cursor = Listing(engine).page(Wanted(), "count", 10, None).cursor
    with pytest.raises(BadCursor):
        Listing(engine).page(Wanted(), "severity", 10, cursor)


def test_growth_is_thinned_and_loses_nothing(engine: Engine) -> None:
    batches = [
        {
            "campaign_id": 1, "number": n, "seed_first": n, "programs": 2, "steps": 3, "seconds": 0.5,
            "coverage": n % 900, "state": "done", "stored_at": START + timedelta(seconds=n),
        }
        for n in range(1000)
    ]  # fmt: skip
    with transaction(engine, "write") as connection:
        connection.execute(insert(BatchTable), batches)
    told = growth(engine, 1)
    assert len(told.points) <= POINTS_MAX
    assert (sum(p.batches for p in told.points), sum(p.programs for p in told.points)) == (1000, 2000)
    assert [p.coverage for p in told.points] == sorted(p.coverage for p in told.points)
    assert told.points[-1].coverage == 899
    assert told.last_found == START + timedelta(seconds=12)
    assert growth(engine, 7).points == ()


def test_growth_is_told_in_the_order_of_storing(file_engine: Engine) -> None:
    """Batch 0 came last, and with it the coverage that no other had; number 3 was set aside."""
    make_campaign(file_engine)
    came = {0: 4, 1: 1, 2: 2, 4: 3}
    batches = [
        {
            "campaign_id": 1, "number": n, "seed_first": n, "programs": n + 1, "steps": 3, "seconds": 0.5,
            "coverage": 100 if n == 0 else n, "state": "done", "stored_at": START + timedelta(seconds=after),
        }
        for n, after in came.items()
    ]  # fmt: skip
    with transaction(file_engine, "write") as connection:
        connection.execute(insert(BatchTable), batches)
    points = growth(file_engine, 1).points
    assert [(p.stored_at - START).total_seconds() for p in points] == [1, 2, 3, 4]
    assert [p.programs for p in points] == [2, 3, 5, 1]
    assert [p.coverage for p in points] == [1, 2, 4, 100]
