# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz doctor` and `mmufuzz migrate` on real servers, in order and out of it."""

import json
from typing import Any

from sqlalchemy import text

from db.revisions import revisions
from db.session import transaction
from reference_mmu.version import model_version
from tests.service.fleet import Fleet
from tests.service.waiting import wait_until


def examine(fleet: Fleet, **variables: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the last check of every name."""
    run = fleet.mmufuzz("doctor", "--json", "-", **variables)
    assert run.stderr.count("\n") == len(json.loads(run.stdout)["checks"]), "one line each"
    return run.returncode, {check["name"]: check for check in json.loads(run.stdout)["checks"]}


def test_all_is_well(fleet: Fleet) -> None:
    fleet.start_worker(slots=2)
    wait_until(lambda: bool(fleet.live_workers()), "the worker is there", seconds=60)
    code, checks = examine(fleet)
    assert code == 0
    assert {check["health"] for check in checks.values()} == {"ok"}, checks
    assert checks.keys() == {"broker", "disk", "database", "migrations", "server", "clock", "workers", "webhook"}
    assert checks["workers"]["text"] == f"model {model_version()}: 2 slots"
    run = fleet.command("migrate", "down", "--yes", "--db", fleet.url)
    assert run.exit_code == 2
    assert run.stderr == "mmufuzz: 1 workers are alive, which move it forward again; stop them first\n"


def test_what_could_be_better(fleet: Fleet) -> None:
    fleet.create(10)
    with transaction(fleet.engine, "write") as connection:
        connection.execute(text("UPDATE campaigns SET model_version = 'older'"))
    code, checks = examine(
        fleet, MMUFUZZ_WEBHOOK_URL="http://x", MMUFUZZ_WEBHOOK_SECRET="y", MMUFUZZ_WEBHOOK_STOPPED="1"
    )
    assert code == 0
    assert (checks["workers"]["health"], checks["workers"]["step"]) == ("warning", "mmufuzz worker")
    assert checks["campaign"]["text"] == "1 waits: no live worker has model older"
    assert (checks["webhook"]["health"], checks["webhook"]["text"]) == ("warning", "is stopped")


def test_nobody_answers(fleet: Fleet) -> None:
    nowhere = {
        "MMUFUZZ_BROKER": "redis://127.0.0.1:1/0",
        "MMUFUZZ_DATABASE": "postgresql+psycopg://a:hidden@127.0.0.1:1/x",
    }
    code, checks = examine(fleet, **nowhere)
    assert code == 1
    assert {name for name, check in checks.items() if check["health"] == "failed"} == {"broker", "database"}
    assert "hidden" not in json.dumps(checks)
    assert all(check["step"] for check in checks.values() if check["health"] == "failed")


def test_a_database_that_knows_no_encoding(fleet: Fleet) -> None:
    """SQL_ASCII takes bytes for what they are."""
    url = fleet.servers.new_database("SQL_ASCII")
    assert fleet.command("migrate", "up", "--db", url).stderr == ""
    named = fleet.command("campaign", "create", "--programs", "5", "--name", "Prüfstand", "--db", url)
    assert named.stderr == ""
    assert "Prüfstand" in fleet.command("campaign", "list", "--db", url).stdout


def test_forward_and_back(fleet: Fleet) -> None:
    """On PostgreSQL; SQLite has its tests in tests/db."""
    newest = revisions(fleet.url).known[-1]
    before = revisions(fleet.url).known[-2]
    assert fleet.command("migrate", "--db", fleet.url).stdout == f"revision {newest}, the newest\n"
    unsure = fleet.command("migrate", "down", "--db", fleet.url)
    assert (unsure.exit_code, "add --yes" in unsure.stderr) == (2, True)
    down = fleet.command("migrate", "down", "--yes", "--db", fleet.url)
    assert down.stdout == f"revision {before}, the newest is {newest}\n", down.stderr
    code, checks = examine(fleet)
    assert (code, checks["migrations"]["health"]) == (0, "warning")
    assert checks["migrations"]["text"] == f"revision {before}, this version needs {newest}"
    up = fleet.command("migrate", "--db", fleet.url, "up")
    assert up.stdout == f"revision {newest}, the newest\n"
    with transaction(fleet.engine, "write") as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    code, checks = examine(fleet)
    assert (code, checks["migrations"]["step"]) == (1, "update mmufuzz on this machine")
