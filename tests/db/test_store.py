# SPDX-License-Identifier: GPL-2.0-only
"""What goes into the store comes out again: once, whole, and the same whatever order the batches come in."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, Engine, event, func, select, text
from sqlalchemy.exc import IntegrityError

from db.campaigns import NewCampaign
from db.findings import OCCURRENCES_MAX, REPRODUCER_BYTES_MAX
from db.schema import Base, CampaignState, FindingState
from db.session import StoreError, open_database, transaction
from db.store import (
    FindingRow,
    ReproducerRow,
    Store,
    Totals,
    VerdictTotal,
)
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Occurrence, Verdict, signature
from tests.findings import divergence, violation

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
VIOLATION = violation(
    "stale-tlb",
    side="old",
    patches=("tdp-fault-warn-flush-mmuw",),
    direction="sufficient",
    verdict=Verdict.FIXED,
    sites=("FAULT_GUP", "MAP_TARGET"),
    story="A read fault installs a read-only SPTE over the writable one of a racing write fault.",
)
DIVERGENCE = divergence(
    "fewer-flushes",
    "young-false-negative",
    leader="new",
    patches=("age-elides-tlb-flush",),
    direction="necessary",
    sites=("AGE_TEST", "FAULT_EXIT"),
    story="Aging no longer flushes.",
)

SEVERITY_ORDER = [
    Verdict.DOCUMENTED,
    Verdict.FIXED,
    Verdict.FIXED_SILENTLY,
    Verdict.BASELINE,
    Verdict.UNEXPLAINED,
    Verdict.REGRESSION,
]


def found(finding: Finding, seed: int = 100, count: int = 1, reproducer: bytes | None = None) -> FoundFinding:
    return FoundFinding(finding, count, seed, reproducer)


def batch(campaign: int, number: int, *findings: FoundFinding) -> BatchResult:
    return BatchResult(campaign, number, 1000 * number, 1000, 25_000, 0.5, 40 + number, findings)


def judged(verdict: Verdict, story: str) -> Finding:
    return msgspec.structs.replace(VIOLATION, verdict=verdict, story=story)


def new_campaign(store: Store, name: str = "nightly", **changes: Any) -> int:
    campaign = NewCampaign(
        name=name,
        old_spec="old",
        new_spec="new",
        profile="default",
        seed_first=7,
        model_version="0.1.0",
        budget_seconds=60.0,
    )
    return store.create_campaign(msgspec.structs.replace(campaign, **changes))


def row_counts(engine: Engine) -> dict[str, int]:
    """Of the tables that a search on one machine writes."""
    names = ("campaigns", "batches", "findings", "occurrences", "reproducers")
    with transaction(engine, "read") as connection:
        tables = [Base.metadata.tables[name] for name in names]
        return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}


class Clock:
    """Every look at it is one second later."""

    def __init__(self) -> None:
        self.time = START

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mmufuzz.db'}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = open_database(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine, now=Clock())


@pytest.fixture
def campaign(store: Store) -> int:
    return new_campaign(store)


class TestFinding:
    def test_signature_reads_and_stays(self) -> None:
        """Stored signatures are compared with computed ones, so these two may never change."""
        assert signature(VIOLATION) == "violation:stale-tlb:tdp-fault-warn-flush-mmuw:535773f2"
        assert signature(DIVERGENCE) == "divergence:fewer-flushes+young-false-negative:age-elides-tlb-flush:a276594a"

    @pytest.mark.parametrize(
        "changes",
        [
            {"side": "new"},
            {"leader": "new"},
            {"verdict": Verdict.REGRESSION},
            {"story": "Another run, another story."},
            {"sites": ("MAP_TARGET", "FAULT_GUP")},
        ],
    )
    def test_same_bug(self, changes: dict[str, Any]) -> None:
        assert signature(msgspec.structs.replace(VIOLATION, **changes)) == signature(VIOLATION)

    def test_same_bug_whatever_the_order_of_its_effects(self) -> None:
        swapped = DIVERGENCE.effects[::-1]
        other = msgspec.structs.replace(DIVERGENCE, effects=swapped, what=", ".join(swapped))
        assert signature(other) == signature(DIVERGENCE)

    @pytest.mark.parametrize(
        "changes",
        [
            {"what": "lost-dirty"},
            {"patches": ()},
            {"patches": ("age-elides-tlb-flush", "tdp-fault-warn-flush-mmuw")},
            {"direction": "necessary"},
            {"sites": ("FAULT_GUP", "ZAP_LEAF")},
            {"change": "0123456789ab"},
        ],
    )
    def test_another_bug(self, changes: dict[str, Any]) -> None:
        assert signature(msgspec.structs.replace(VIOLATION, **changes)) != signature(VIOLATION)

    def test_signature_is_bounded_and_safe_in_a_path(self) -> None:
        patches = tuple(f"../{number:03} 'ü'\n" for number in range(500))
        long = signature(msgspec.structs.replace(VIOLATION, what="a/b " * 500, patches=patches))
        assert len(long) <= 200
        assert set(long) <= set("abcdefghijklmnopqrstuvwxyz0123456789+-._:")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"effects": ("fewer-flushes",)}, "a violation has no effects"),
            ({"kind": "divergence", "side": "both"}, "named by its effects"),
            ({"kind": "divergence", "effects": ("a",), "what": "a"}, "on both sides"),
            ({"patches": ("b", "a")}, "must be sorted"),
            ({"patches": ("a", "a")}, "must be sorted"),
        ],
    )
    def test_rejects_parts_that_contradict_each_other(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Finding(**(msgspec.structs.asdict(VIOLATION) | changes))

    def test_batch_result_survives_json(self) -> None:
        result = batch(3, 4, found(VIOLATION, reproducer=b'{"format": 1}'), found(DIVERGENCE))
        assert msgspec.json.decode(msgspec.json.encode(result), type=BatchResult) == result

    @pytest.mark.parametrize("change", [(b'"number":4', b'"number":-4'), (b'"number":4', b'"number":4,"more":0')])
    def test_batch_result_refuses_malformed_json(self, change: tuple[bytes, bytes]) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(msgspec.json.encode(batch(3, 4)).replace(*change), type=BatchResult)


class TestCampaign:
    def test_round_trip(self, store: Store) -> None:
        first = new_campaign(store, "first", budget_programs=10_000)
        second = new_campaign(store, "second", old_spec="old+age-elides-tlb-flush")
        newest, oldest = store.campaigns()
        assert (newest.id, oldest.id) == (second, first)
        assert (newest.old_spec, newest.new_spec) == ("old+age-elides-tlb-flush", "new")
        assert (newest.budget_seconds, newest.budget_programs) == (60.0, None)
        assert oldest.budget_programs == 10_000
        assert (oldest.name, oldest.profile, oldest.seed_first, oldest.model_version) == (
            "first",
            "default",
            7,
            "0.1.0",
        )
        assert oldest.created_at == START + timedelta(seconds=1)
        assert oldest.created_at.tzinfo is UTC
        assert oldest.state is CampaignState.RUNNING

    def test_ends(self, store: Store, campaign: int) -> None:
        other = new_campaign(store)
        store.end_campaign(campaign, CampaignState.STOPPED)
        assert {row.id: row.state for row in store.campaigns()} == {
            campaign: CampaignState.STOPPED,
            other: CampaignState.RUNNING,
        }

    @pytest.mark.parametrize(
        "name",
        [
            "'; DROP TABLE campaigns; --",
            '"quoted" \\ %s %(a)s :a ?',
            "<script>alert(1)</script>",
            "héllo 日本 🐧",
            "x" * 4096,
        ],
    )
    def test_hostile_names_are_only_text(self, store: Store, name: str) -> None:
        new_campaign(store, name)
        assert [row.name for row in store.campaigns()] == [name]

    @pytest.mark.parametrize("name", ["", "two\nlines", "nul\0", "\x1b[2J", "\u202etxt", "\ud800", "x" * 4097])
    def test_names_that_would_break_a_list_are_refused(self, store: Store, name: str) -> None:
        with pytest.raises(StoreError, match="name: expected 1 to 4096 printable characters"):
            new_campaign(store, name)
        assert store.campaigns() == []

    def test_a_seed_beyond_64_bits_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError, match=r"too large|out of range"):
            new_campaign(store, seed_first=2**63)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda store: store.record(batch(42, 0)),
            lambda store: store.end_campaign(42, CampaignState.FINISHED),
            lambda store: store.totals(42),
        ],
    )
    def test_unknown_campaign(self, store: Store, ask: Callable[[Store], object]) -> None:
        with pytest.raises(StoreError, match=r"^no campaign 42$"):
            ask(store)


class TestRecord:
    def test_round_trip(self, store: Store, campaign: int) -> None:
        store.record(batch(campaign, 3, found(DIVERGENCE, 3001, 12, b'{"format": 1}'), found(VIOLATION, 3005)))
        seen = START + timedelta(seconds=2)
        assert store.findings() == [
            FindingRow(campaign, signature(VIOLATION), VIOLATION, FindingState.OPEN, 1, 1, seen, seen, 3005, None, ""),
            FindingRow(
                campaign,
                signature(DIVERGENCE),
                DIVERGENCE,
                FindingState.OPEN,
                12,
                1,
                seen,
                seen,
                3001,
                ReproducerRow(13, False, None, None, None),
                "",
            ),
        ]
        assert store.reproducer(signature(DIVERGENCE)) == b'{"format": 1}'
        assert store.reproducer(signature(VIOLATION)) is None
        assert store.occurrences(signature(DIVERGENCE)) == [Occurrence(3001, 12, b'{"format": 1}')]

    def test_counts_add_up_across_batches(self, store: Store, campaign: int) -> None:
        for number, count in enumerate([5, 1, 3]):
            store.record(batch(campaign, number, found(VIOLATION, 1000 * number + 9, count)))
        [row] = store.findings()
        assert (row.count, row.batches, row.first_seed) == (9, 3, 9)
        assert row.last_seen - row.first_seen == timedelta(seconds=2)
        assert store.occurrences(row.signature) == [
            Occurrence(9, 5, None),
            Occurrence(1009, 1, None),
            Occurrence(2009, 3, None),
        ]

    def test_a_clock_that_goes_back_does_not_turn_last_seen_back(self, engine: Engine) -> None:
        times = iter([START, START + timedelta(hours=1), START])
        store = Store(engine, now=lambda: next(times))
        campaign = new_campaign(store)
        store.record(batch(campaign, 0, found(VIOLATION)))
        store.record(batch(campaign, 1, found(VIOLATION)))
        [row] = store.findings()
        assert (row.first_seen, row.last_seen) == (START + timedelta(hours=1),) * 2

    def test_the_same_batch_twice_changes_nothing(self, store: Store, engine: Engine, campaign: int) -> None:
        store.record(batch(campaign, 0, found(VIOLATION, 8, 2, b"first")))
        before = (store.findings(), store.totals(campaign), row_counts(engine))
        store.record(batch(campaign, 0, found(VIOLATION, 8, 2, b"first")))
        store.record(batch(campaign, 0, found(DIVERGENCE, 8, 2, b"other"), found(VIOLATION, 1, 1, b"x")))
        assert (store.findings(), store.totals(campaign), row_counts(engine)) == before
        assert store.reproducer(signature(VIOLATION)) == b"first"

    def test_the_same_number_in_another_campaign_is_another_batch(self, store: Store, campaign: int) -> None:
        other = new_campaign(store)
        store.record(batch(campaign, 0, found(VIOLATION, 8, 2)))
        store.record(batch(other, 0, found(VIOLATION, 6, 5)))
        assert [(row.campaign, row.count) for row in store.findings()] == [(other, 5), (campaign, 2)]

    def test_a_signature_twice_in_one_batch_is_one_finding(self, store: Store, campaign: int) -> None:
        mild, severe = judged(Verdict.BASELINE, "mild"), judged(Verdict.REGRESSION, "severe")
        store.record(batch(campaign, 0, found(mild, 5, 3, b"mild"), found(severe, 9, 2, b"severe"), found(mild, 7)))
        [row] = store.findings()
        assert (row.finding, row.count, row.batches, row.first_seed) == (severe, 6, 1, 9)
        assert store.reproducer(row.signature) == b"severe"
        assert store.occurrences(row.signature) == [Occurrence(9, 6, b"severe")]

    def test_the_order_of_batches_does_not_matter(self, store: Store) -> None:
        findings = [
            found(judged(Verdict.BASELINE, "lowest seed"), 1, 1, b"a"),
            found(judged(Verdict.REGRESSION, "later regression"), 90, 1, b"longer raw body"),
            found(judged(Verdict.REGRESSION, "first regression"), 50, 1, b"short"),
            found(judged(Verdict.FIXED, "mildest"), 2, 1, b""),
        ]
        for order in permutations(range(4)):
            campaign = new_campaign(store)
            for number in order:
                store.record(batch(campaign, number, findings[number]))
            [row] = store.findings(campaign)
            assert (row.finding.story, row.finding.verdict) == ("first regression", Verdict.REGRESSION), order
            assert (row.first_seed, row.count, row.batches) == (50, 4, 4), order
            assert store.reproducer(row.signature, campaign) == b"short", order

    def test_occurrences_are_capped_and_the_count_goes_on(self, store: Store, engine: Engine, campaign: int) -> None:
        for number in range(OCCURRENCES_MAX + 5):
            store.record(batch(campaign, number, found(VIOLATION, number, 2), found(DIVERGENCE, number)))
        row = store.finding(signature(VIOLATION))
        assert row is not None
        assert (row.count, row.batches) == (2 * (OCCURRENCES_MAX + 5), OCCURRENCES_MAX + 5)
        assert len(store.occurrences(row.signature)) == OCCURRENCES_MAX
        assert row_counts(engine)["occurrences"] == 2 * OCCURRENCES_MAX

    def test_a_burst_of_findings(self, store: Store, campaign: int) -> None:
        burst = [msgspec.structs.replace(VIOLATION, what=f"invariant-{number}") for number in range(1500)]
        for number in range(2):
            store.record(batch(campaign, number, *[found(finding, number, 1, b"{}") for finding in burst]))
        rows = store.findings(limit=10_000)
        assert {row.finding.what for row in rows} == {finding.what for finding in burst}
        assert {(row.count, row.batches, row.first_seed) for row in rows} == {(2, 2, 0)}

    def test_hostile_strings_come_back_unchanged(self, store: Store, campaign: int) -> None:
        text = "'); DELETE FROM findings; -- %s :x \\ \" \n <b>日本 🐧</b>"
        finding = msgspec.structs.replace(VIOLATION, what=text, patches=(text,), sites=(text, text), story=text)
        store.record(batch(campaign, 0, found(finding, reproducer=bytes(range(256)))))
        [row] = store.findings()
        assert row.finding == finding
        assert store.reproducer(row.signature) == bytes(range(256))

    def test_does_without_returning(self, store: Store, engine: Engine, campaign: int) -> None:
        """SQLite has it since 3.35, and Enterprise Linux 9 ships 3.34."""
        statements: list[str] = []

        @event.listens_for(engine, "before_cursor_execute")
        def note(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
            statements.append(statement)

        store.record(batch(campaign, 0, found(VIOLATION, 8, 2, b"{}")))
        store.improve_reproducer(signature(VIOLATION), b"{}", 1, 1, "d")
        assert any("ON CONFLICT" in statement for statement in statements)
        assert not any("RETURNING" in statement for statement in statements)

    def test_totals(self, store: Store, campaign: int) -> None:
        other = msgspec.structs.replace(VIOLATION, what="lost-dirty")
        store.record(batch(campaign, 0, found(VIOLATION, 1, 4), found(other, 2, 3)))
        store.record(batch(campaign, 1, found(VIOLATION, 1001, 1), found(DIVERGENCE, 1002, 9)))
        store.record(batch(new_campaign(store), 0, found(VIOLATION)))
        numbers = {Verdict.DOCUMENTED: (1, 9), Verdict.FIXED: (2, 8)}
        verdicts = tuple(VerdictTotal(verdict, *numbers.get(verdict, (0, 0)), 0) for verdict in SEVERITY_ORDER)
        assert store.totals(campaign) == Totals(2, 2000, 50_000, 1.0, 41, verdicts)

    def test_totals_of_nothing(self, store: Store, campaign: int) -> None:
        zero = tuple(VerdictTotal(verdict, 0, 0, 0) for verdict in SEVERITY_ORDER)
        assert store.totals(campaign) == Totals(0, 0, 0, 0.0, 0, zero)


class TestLists:
    def test_most_severe_first_then_newest(self, store: Store, campaign: int) -> None:
        for number, verdict in enumerate([*SEVERITY_ORDER, Verdict.BASELINE]):
            finding = msgspec.structs.replace(VIOLATION, what=f"invariant-{number}", verdict=verdict)
            store.record(batch(campaign, number, found(finding)))
        names = [row.finding.what for row in store.findings()]
        assert names == [f"invariant-{number}" for number in (5, 4, 6, 3, 2, 1, 0)]
        assert [row.finding.what for row in store.findings(limit=2)] == names[:2]
        assert [row.finding.what for row in store.findings(verdict=Verdict.BASELINE)] == names[2:4]
        assert store.findings(verdict=Verdict.BASELINE, campaign=new_campaign(store)) == []

    def test_a_signature_means_the_newest_campaign_that_has_it(self, store: Store, campaign: int) -> None:
        newer = new_campaign(store)
        new_campaign(store)
        store.record(batch(newer, 0, found(VIOLATION, reproducer=b"newer")))
        store.record(batch(campaign, 0, found(VIOLATION, reproducer=b"older")))
        name = signature(VIOLATION)
        row, named = store.finding(name), store.finding(name, campaign)
        assert row is not None
        assert named is not None
        assert (row.campaign, named.campaign) == (newer, campaign)
        assert (store.reproducer(name), store.reproducer(name, campaign)) == (b"newer", b"older")
        assert store.occurrences(name, campaign)[0].reproducer == b"older"

    def test_unknown_signature(self, store: Store, campaign: int) -> None:
        assert store.finding("violation:none:none:00000000") is None
        assert store.reproducer("violation:none:none:00000000") is None
        assert store.occurrences("violation:none:none:00000000") == []


class TestImproveReproducer:
    @pytest.fixture
    def name(self, store: Store, campaign: int) -> str:
        store.record(batch(campaign, 0, found(VIOLATION, 8, 1, b"raw")))
        return signature(VIOLATION)

    def test_a_minimized_one_replaces_a_raw_one(self, store: Store, name: str) -> None:
        assert store.improve_reproducer(name, b"minimized", 4, 2, "d1")
        row = store.finding(name)
        assert row is not None
        assert row.reproducer == ReproducerRow(9, True, 4, 2, "d1")
        assert store.occurrences(name) == [Occurrence(8, 1, b"minimized")]

    @pytest.mark.parametrize(
        ("body", "operations", "preemptions", "kept"),
        [
            (b"abcdefgh", 3, 9, True),
            (b"abcdefgh", 4, 1, True),
            (b"abc", 4, 2, True),
            (b"abcd", 4, 2, False),
            (b"abc", 4, 3, False),
            (b"abc", 5, 0, False),
        ],
    )
    def test_the_smaller_one_stays(
        self, store: Store, name: str, body: bytes, operations: int, preemptions: int, kept: bool
    ) -> None:
        assert store.improve_reproducer(name, b"ABCD", 4, 2, "d1")
        assert store.improve_reproducer(name, body, operations, preemptions, "d2") is kept
        assert store.reproducer(name) == (body if kept else b"ABCD")

    def test_a_later_raw_one_does_not_replace_a_minimized_one(self, store: Store, campaign: int, name: str) -> None:
        store.improve_reproducer(name, b"minimized", 4, 2, "d1")
        store.record(batch(campaign, 1, found(VIOLATION, 1, 1, b"")))
        assert store.reproducer(name) == b"minimized"

    def test_a_more_severe_one_replaces_a_minimized_one(self, store: Store, campaign: int, name: str) -> None:
        store.improve_reproducer(name, b"minimized", 4, 2, "d1")
        store.record(batch(campaign, 1, found(judged(Verdict.REGRESSION, "worse"), 1001, 1, b"raw regression")))
        assert store.reproducer(name) == b"raw regression"
        assert not store.improve_reproducer(name, b"tiny", 1, 0, "d2", verdict=Verdict.FIXED)
        assert store.improve_reproducer(name, b"minimized regression", 6, 4, "d3")
        assert store.reproducer(name) == b"minimized regression"

    def test_a_finding_without_reproducer_gets_one(self, store: Store, campaign: int) -> None:
        store.record(batch(campaign, 0, found(DIVERGENCE, 8)))
        assert store.improve_reproducer(signature(DIVERGENCE), b"minimized", 4, 2, "d1")
        assert store.occurrences(signature(DIVERGENCE)) == [Occurrence(8, 1, b"minimized")]

    def test_only_the_named_campaign_changes(self, store: Store, campaign: int, name: str) -> None:
        other = new_campaign(store)
        store.record(batch(other, 0, found(VIOLATION, 8, 1, b"raw")))
        assert store.improve_reproducer(name, b"minimized", 4, 2, "d1", campaign=campaign)
        assert (store.reproducer(name, campaign), store.reproducer(name, other)) == (b"minimized", b"raw")

    def test_unknown_signature(self, store: Store, campaign: int) -> None:
        with pytest.raises(StoreError, match=r"^no finding 'violation:x'$"):
            store.improve_reproducer("violation:x", b"", 1, 1, "d")

    def test_too_large(self, store: Store, name: str) -> None:
        with pytest.raises(StoreError, match="at most 16777216 are kept"):
            store.improve_reproducer(name, b"x" * (REPRODUCER_BYTES_MAX + 1), 1, 1, "d")
        assert store.reproducer(name) == b"raw"


class TestFailure:
    """A batch is stored whole or not at all, and can be stored again."""

    def retry_works(self, store: Store, engine: Engine, campaign: int) -> None:
        empty = {"batches": 0, "campaigns": 1, "findings": 0, "occurrences": 0, "reproducers": 0}
        assert row_counts(engine) == empty
        store.record(batch(campaign, 0, found(VIOLATION, 8, 2, b"{}")))
        assert row_counts(engine) == dict.fromkeys(empty, 1)
        assert store.findings()[0].count == 2

    def test_a_value_that_does_not_fit(self, store: Store, engine: Engine, campaign: int) -> None:
        with pytest.raises(StoreError, match=r"too large|out of range"):
            store.record(batch(campaign, 0, found(DIVERGENCE), found(VIOLATION, 2**63)))
        self.retry_works(store, engine, campaign)

    def test_a_reproducer_that_is_too_large(self, store: Store, engine: Engine, campaign: int) -> None:
        with pytest.raises(StoreError, match=f"reproducer of {signature(VIOLATION)}: 16777217 bytes"):
            store.record(batch(campaign, 0, found(VIOLATION, reproducer=b"x" * (REPRODUCER_BYTES_MAX + 1))))
        self.retry_works(store, engine, campaign)

    def test_the_database_refuses_the_last_write(self, store: Store, engine: Engine, campaign: int) -> None:
        with transaction(engine, "write") as connection:
            refuse = "CREATE TRIGGER full BEFORE INSERT ON reproducers BEGIN SELECT RAISE(ABORT, 'disk\nis full'); END"
            connection.execute(text(refuse))
        with pytest.raises(StoreError, match=r"^database: disk is full$"):
            store.record(batch(campaign, 0, found(VIOLATION, reproducer=b"{}")))
        with transaction(engine, "write") as connection:
            connection.execute(text("DROP TRIGGER full"))
        self.retry_works(store, engine, campaign)

    def test_a_process_killed_in_the_middle(self, store: Store, engine: Engine, campaign: int, url: str) -> None:
        child = multiprocessing.get_context("spawn").Process(target=die_while_recording, args=(url, campaign))
        child.start()
        child.join()
        assert child.exitcode == 9
        self.retry_works(store, engine, campaign)

    def test_foreign_keys_are_enforced(self, engine: Engine, campaign: int) -> None:
        with pytest.raises(StoreError, match=r"(?i)foreign key") as caught, transaction(engine, "write") as connection:
            connection.execute(text("INSERT INTO occurrences VALUES (1, 1, 1, 1, 1)"))
        assert isinstance(caught.value.__cause__, IntegrityError)

    def test_a_deleted_campaign_leaves_nothing(self, store: Store, engine: Engine, campaign: int) -> None:
        store.record(batch(campaign, 0, found(VIOLATION, 8, 2, b"{}")))
        with transaction(engine, "write") as connection:
            connection.execute(text("DELETE FROM campaigns"))
        assert set(row_counts(engine).values()) == {0}


def die_while_recording(url: str, campaign: int) -> None:
    engine = open_database(url)

    @event.listens_for(engine, "after_cursor_execute")
    def die(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
        if "INTO occurrences" in statement:
            os._exit(9)

    Store(engine).record(batch(campaign, 0, found(VIOLATION, 8, 2, b"{}")))


BATCHES = 40


def record_all(url: str, campaign: int, barrier: Barrier) -> None:
    """Every process records every batch, so each is redelivered once and often at the same moment."""
    engine = open_database(url)
    store = Store(engine)
    barrier.wait(timeout=60)  # seconds; if another process died
    for number in range(BATCHES):
        findings = [found(VIOLATION, 1000 * number + 3, 2, b"{}"), found(DIVERGENCE, 1000 * number)]
        store.record(batch(campaign, number, *findings))
    engine.dispose()


def test_two_processes_record_the_same_batches(store: Store, engine: Engine, campaign: int, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    children = [context.Process(target=record_all, args=(url, campaign, barrier)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert {row.finding: (row.count, row.batches, row.first_seed) for row in store.findings()} == {
        VIOLATION: (2 * BATCHES, BATCHES, 3),
        DIVERGENCE: (BATCHES, BATCHES, 0),
    }
    assert store.totals(campaign).programs == 1000 * BATCHES
    assert row_counts(engine) == {
        "campaigns": 1,
        "batches": BATCHES,
        "findings": 2,
        "occurrences": 2 * BATCHES,
        "reproducers": 1,
    }


def test_a_reader_is_not_stopped_by_a_writer(store: Store, engine: Engine, campaign: int) -> None:
    with transaction(engine, "write") as connection:
        connection.execute(text("UPDATE campaigns SET name = 'half done'"))
        assert [row.name for row in store.campaigns()] == ["nightly"]
