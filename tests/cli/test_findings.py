# SPDX-License-Identifier: GPL-2.0-only
"""What the database holds, listed and shown."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cli.main import cli
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import BatchResult, FoundFinding, signature
from fuzzer.reproducer import encode_reproducer
from tests.cli.shell import Searched
from tests.db.stored import NIGHTLY
from tests.golden import golden


def findings(searched: Searched, *words: str) -> Result:
    return CliRunner().invoke(cli, ["findings", *words, "--db", searched.database])


def signatures(result: Result) -> set[str]:
    document: Any = json.loads(result.stdout)
    return {found["signature"] for found in document["findings"]}


def test_lists_what_was_found(searched: Searched) -> None:
    reported = {found["signature"] for found in searched.report["findings"]}
    assert signatures(findings(searched, "--json", "-")) == reported
    assert all(signature in findings(searched).stdout for signature in reported)


def test_filters(searched: Searched) -> None:
    assert signatures(findings(searched, "--verdict", "regression", "--json", "-")) == set()
    assert signatures(findings(searched, "--campaign", "2", "--json", "-")) == set()
    assert len(signatures(findings(searched, "--limit", "3", "--json", "-"))) == 3
    assert "there are more than 3: raise --limit" in findings(searched, "--limit", "3").stdout
    assert "no such finding" in findings(searched, "--campaign", "2").stdout


def test_shows_one_and_gets_its_reproducer(searched: Searched, tmp_path: Path) -> None:
    found = searched.report["findings"][0]
    target = tmp_path / "story.json"
    result = findings(searched, "show", found["signature"], "--reproducer", str(target))
    assert result.exit_code == 0
    assert target.read_bytes() == (searched.folder / found["reproducer"]).read_bytes()
    assert f"mmufuzz replay {target}" in result.stdout
    document = json.loads(findings(searched, "show", found["signature"], "--json", "-").stdout)
    assert document["finding"]["count"] == found["count"] == sum(count for _, count in document["occurrences"])
    assert document["reproducer"] is None


def test_the_database_may_be_named_before_show(searched: Searched) -> None:
    signature = searched.report["findings"][0]["signature"]
    result = CliRunner().invoke(cli, ["findings", "--db", searched.database, "show", signature])
    assert result.exit_code == 0
    assert signature in result.stdout


def test_a_known_hole_is_told_by_the_name_that_was_stored(tmp_path: Path) -> None:
    story = golden("e500-writable-null")
    database = f"sqlite:///{tmp_path / 'test.db'}"
    engine = open_database(database)
    store = Store(engine)
    found = FoundFinding(story.finding, 1, 7, encode_reproducer(story))
    store.record(BatchResult(store.create_campaign(NIGHTLY), 0, 0, 10, 100, 0.1, 1, (found,)))
    engine.dispose()
    result = CliRunner().invoke(cli, ["findings", "--db", database, "--json", "-"])
    assert [one["known"] for one in json.loads(result.stdout)["findings"]] == ["e500-writable-null"]
    shown = CliRunner().invoke(cli, ["findings", "show", signature(story.finding), "--db", database]).stdout
    assert "e500-writable-null: see docs/findings.md#e500-writable-null" in " ".join(shown.split())
