# SPDX-License-Identifier: GPL-2.0-only
"""What people say about a finding stays, with who and when; merges come apart as they went together."""

import pytest
from sqlalchemy import Engine

from db.history import Histories, HistoryRow, NoFinding
from db.merges import Merges
from db.schema import FindingState, HistoryEvent
from db.session import StoreError
from db.store import Store
from tests.db.stored import NAME, SECOND, SECOND_NAME, THIRD, THIRD_NAME, VIOLATION, Clock, new_campaign


def states(store: Store, name: str = NAME) -> dict[int, FindingState]:
    return {row.campaign: row.state for row in store.findings(limit=100) if row.signature == name}


class TestHistory:
    def test_states_and_comments(self, clocked_store: Store, file_engine: Engine, clock: Clock) -> None:
        new_campaign(clocked_store, VIOLATION)
        histories = Histories(file_engine, clock)
        first = clock()
        histories.comment(NAME, "eve", "posted to the list")
        clock.pass_by(hours=1)
        histories.move(NAME, FindingState.FIXED, "ada", "commit 0123abc")
        opened, fixed = FindingState.OPEN, FindingState.FIXED
        assert histories.of(NAME) == [
            HistoryRow(first, "eve", HistoryEvent.COMMENT, opened, opened, "posted to the list"),
            HistoryRow(clock(), "ada", HistoryEvent.STATE, opened, fixed, "commit 0123abc"),
        ]
        assert states(clocked_store) == {1: fixed}

    def test_the_newest_campaign_counts_unless_one_is_named(self, clocked_store: Store, file_engine: Engine) -> None:
        for _ in range(2):
            new_campaign(clocked_store, VIOLATION)
        histories = Histories(file_engine)
        histories.move(NAME, FindingState.FIXED, "ada", "mended")
        histories.move(NAME, FindingState.INVALID, "ada", "no barrier", campaign=1)
        assert states(clocked_store) == {1: FindingState.INVALID, 2: FindingState.FIXED}
        assert [row.why for row in histories.of(NAME, 1)] == ["no barrier"]

    @pytest.mark.parametrize("text", ["", "two\nlines", "\x1b[31mred", "x" * 5000])
    def test_a_comment_is_one_line(self, clocked_store: Store, file_engine: Engine, text: str) -> None:
        new_campaign(clocked_store, VIOLATION)
        with pytest.raises(StoreError, match="printable characters"):
            Histories(file_engine).comment(NAME, "eve", text)
        assert Histories(file_engine).of(NAME) == []

    def test_hostile_text_is_only_text(self, clocked_store: Store, file_engine: Engine) -> None:
        new_campaign(clocked_store, VIOLATION)
        text = "'); DROP TABLE history; -- %s {0} <script> ü 💣"
        Histories(file_engine).comment(NAME, "eve", text)
        assert [row.why for row in Histories(file_engine).of(NAME)] == [text]

    def test_unknown(self, clocked_store: Store, file_engine: Engine) -> None:
        new_campaign(clocked_store, VIOLATION)
        with pytest.raises(NoFinding, match="no finding 'x'"):
            Histories(file_engine).comment("x", "eve", "text")
        with pytest.raises(NoFinding, match="in campaign 2"):
            Histories(file_engine).of(NAME, 2)


class TestMerge:
    def test_together_and_apart(self, clocked_store: Store, file_engine: Engine) -> None:
        new_campaign(clocked_store, VIOLATION, SECOND)
        new_campaign(clocked_store, SECOND)
        merges = Merges(file_engine)
        before = clocked_store.findings()
        merges.merge(SECOND_NAME, NAME, "eve", "one missing flush")
        shown = [(row.campaign, row.signature) for row in clocked_store.findings()]
        assert sorted(shown) == [(1, NAME), (2, SECOND_NAME)], "where it stands alone, it is shown"
        assert [row.signature for row in merges.into(NAME)] == [SECOND_NAME]
        assert merges.split(SECOND_NAME, "ada", "two bugs") == NAME
        assert clocked_store.findings() == before
        for campaign in (1, 2):
            told = [(row.event, row.who) for row in Histories(file_engine).of(SECOND_NAME, campaign)]
            assert told == [(HistoryEvent.MERGE, "eve"), (HistoryEvent.SPLIT, "ada")]

    def test_what_makes_no_sense_is_refused(self, clocked_store: Store, file_engine: Engine) -> None:
        new_campaign(clocked_store, VIOLATION, SECOND, THIRD)
        merges = Merges(file_engine)
        merges.merge(SECOND_NAME, NAME, "eve", "same")
        for pair, message in [
            ((NAME, NAME), "is itself already"),
            ((SECOND_NAME, THIRD_NAME), "split it first"),
            ((THIRD_NAME, SECOND_NAME), "split it first, or name that one"),
            ((NAME, THIRD_NAME), "other signatures are merged into"),
            (("x", NAME), "no finding 'x'"),
        ]:
            with pytest.raises(StoreError, match=message):
                merges.merge(*pair, "eve", "why")
        with pytest.raises(StoreError, match="is not merged"):
            merges.split(NAME, "eve", "why")
        assert [row.signature for row in merges.into(NAME)] == [SECOND_NAME]
