# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns by real workers on real servers: the same result as one process alone, whatever dies in between."""

import json
import os
import signal
from pathlib import Path

import pytest

from db.roster import roster
from db.schema import CampaignState
from db.session import open_database, utc_now
from db.store import Store
from db.tasks import Tasks
from tests.cli.shell import changed_sources, mmufuzz
from tests.service.fleet import Fleet
from tests.service.waiting import wait_until
from workers.app import CONTROL_QUEUE

PROGRAMS = 20
SEARCH = f"--old no-struct-page --profile tdp --programs {PROGRAMS}"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Programs and first seed of every signature that one process finds."""
    folder = tmp_path_factory.mktemp("alone")
    run = mmufuzz(f"run {SEARCH} --seed 1 --jobs 1", folder)
    assert run.returncode == 0, run.stderr
    rows = Store(open_database(f"sqlite:///{folder / 'mmufuzz.db'}")).findings(limit=10_000)
    return {row.signature: (row.count, row.first_seed) for row in rows}


def assert_as_alone(fleet: Fleet, campaign: int, alone: dict[str, tuple[int, int]]) -> None:
    status = fleet.finish(campaign)
    assert (status.programs, status.unjudged, status.tasks) == (PROGRAMS, 0, ())
    assert {name: (count, seed) for name, (count, _, seed) in fleet.counts(campaign).items()} == alone


def test_from_the_command_line_to_the_findings(fleet: Fleet, alone: dict[str, tuple[int, int]]) -> None:
    words = f"campaign create {SEARCH} --seed 1 --batch-programs 7 --json -"
    created = fleet.mmufuzz(*words.split())
    assert json.loads(created.stdout)["campaign"] == 1
    assert "it waits: there is no live worker; start one with 'mmufuzz worker'" in created.stderr
    worker = fleet.start_worker(slots=2)
    assert_as_alone(fleet, 1, alone)
    listed = json.loads(fleet.mmufuzz("findings", "--db", fleet.url, "--json", "-").stdout)
    assert {found["signature"] for found in listed["findings"]} == alone.keys()
    assert all(found["digest"] for found in listed["findings"]), "every one is minimized"
    assert listed["unjudged"] == []
    shown = fleet.mmufuzz("campaign", "show", "1").stdout
    assert f"programs     {PROGRAMS} of {PROGRAMS} in 3 batches" in shown
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
    # Celery warns of root, and Kombu of a pulse that it gives back.
    legal = ("py.warnings", "kombu.transport.virtual.base")
    assert [entry for entry in worker.log() if entry["level"] != "info" and entry.get("logger") not in legal] == []


def test_workers_killed_on_the_way(fleet: Fleet, alone: dict[str, tuple[int, int]]) -> None:
    """The first with all its processes; of the second the search process only, which its parent replaces."""
    campaign = fleet.create(PROGRAMS, batch_programs=2)
    first = fleet.start_worker()
    wait_until(lambda: fleet.fleets.status(campaign).batches > 1, "the first worker has begun", seconds=60)
    first.kill()
    assert fleet.fleets.status(campaign).campaign.state is CampaignState.RUNNING
    second = fleet.start_worker()
    wait_until(lambda: bool(second.events("task done")), "the second worker has begun", seconds=60)
    os.kill(second.search_processes()[0], signal.SIGKILL)
    assert_as_alone(fleet, campaign, alone)


def test_a_broker_that_forgets_everything(fleet: Fleet, alone: dict[str, tuple[int, int]]) -> None:
    campaign = fleet.create(PROGRAMS, batch_programs=2)
    fleet.start_worker()
    wait_until(lambda: fleet.fleets.status(campaign).batches > 1, "the worker has begun", seconds=60)
    fleet.servers.broker.kill()
    fleet.servers.broker.forget()
    fleet.servers.broker.start()
    assert_as_alone(fleet, campaign, alone)


def test_a_database_that_is_gone_for_a_while(fleet: Fleet, alone: dict[str, tuple[int, int]]) -> None:
    """Until a task has noticed; it computes its batch again when the database is back."""
    campaign = fleet.create(PROGRAMS, batch_programs=2)
    worker = fleet.start_worker()
    wait_until(lambda: fleet.fleets.status(campaign).batches > 1, "the worker has begun", seconds=60)
    fleet.servers.stop_postgres()
    wait_until(lambda: bool(worker.events("task will be retried")), "a task has noticed", seconds=60)
    fleet.servers.start_postgres()
    assert_as_alone(fleet, campaign, alone)
    assert worker.events("task set aside") == []


@pytest.mark.parametrize(
    ("planted", "error", "task_seconds"),
    [
        ("assert seed != 13, 'planted'", "AssertionError: planted", 60),
        ("while seed == 13: pass", "SoftTimeLimitExceeded: SoftTimeLimitExceeded()", 10),
        ("bytearray(2**30 if seed == 13 else 0)", "OutOfMemory: needs more memory than 256 MiB", 60),
    ],
    ids=["error", "endless", "greedy"],
)
def test_a_poison_batch_is_set_aside_and_the_rest_goes_on(
    fleet: Fleet, tmp_path: Path, planted: str, error: str, task_seconds: int
) -> None:
    head = "def generate_script(seed: int, profile: Profile) -> Script:\n"
    doc = '    """The program of a seed as machines run it: a pure function of both arguments."""\n'
    sources = changed_sources(tmp_path / "sources", "fuzzer/program/generate.py", head + doc, f"{head}    {planted}\n")
    campaign = fleet.create(8, batch_programs=2, seed=9, task_seconds=task_seconds, memory_mib=256)
    worker = fleet.start_worker(sources=sources)
    status = fleet.finish(campaign)
    assert (status.programs, status.batches, status.unjudged) == (6, 3, 0)
    (aside,) = Tasks(fleet.engine).aside(campaign)
    assert (aside.name.kind, aside.name.number, aside.error) == ("batch", 2, error)
    assert [entry["error"] for entry in worker.events("task set aside")] == [error]
    assert len(worker.events("task will be retried")) == 3
    shown = fleet.command("campaign", "show", str(campaign)).stdout
    assert f"set aside    batch 2 after 3 starts: {error}" in shown


def test_limits_and_strategies_of_a_campaign(fleet: Fleet, tmp_path: Path) -> None:
    search = f"{SEARCH} --seed 1 --strategy burst --strategy pct"
    assert mmufuzz(f"run {search} --jobs 1", tmp_path).returncode == 0
    rows = Store(open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")).findings(limit=10_000)
    limits = "--slots-max 1 --task-seconds 60 --memory-mib 512"
    created = fleet.command(*f"campaign create {search} {limits} --batch-programs 7 --json -".split())
    told = json.loads(created.stdout)
    assert (told["slots_max"], told["task_seconds"], told["memory_mib"]) == (1, 60, 512)
    assert told["strategies"] == ["burst", "pct"]
    fleet.start_worker()
    fleet.finish(1)
    assert {name: count for name, (count, _, _) in fleet.counts(1).items()} == {
        row.signature: row.count for row in rows
    }
    shown = fleet.command("campaign", "show", "1").stdout
    assert "strategies   burst, pct" in shown
    assert "limits       1 batches at a time, 60 seconds a task, 512 MiB a task" in shown


def test_a_task_that_waits_in_vain_is_another_workers(fleet: Fleet) -> None:
    """The first worker has one slot and two tasks in hand, of which one takes for ever."""

    def begun() -> list[int]:
        return [len(worker.tasks) for worker in roster(fleet.engine, utc_now())]

    fleet.create(2 * 10**6, 10**6)
    fleet.start_worker(MMUFUZZ_RESEND_SECONDS="600")
    wait_until(lambda: begun() == [1], "the first batch runs", seconds=60)
    fleet.start_worker(MMUFUZZ_RESEND_SECONDS="600")
    wait_until(lambda: begun() == [1, 1], "the second batch runs", seconds=90)


def test_another_model_refuses(fleet: Fleet, tmp_path: Path) -> None:
    sources = changed_sources(
        tmp_path / "sources", "reference_mmu/oracle.py", '# SPDX-License-Identifier: GPL-2.0-only\n"""', '"""'
    )
    campaign = fleet.create(20)
    worker = fleet.start_worker(sources=sources)
    wait_until(lambda: bool(worker.events("campaign refused")), "the worker refuses", seconds=60)
    assert fleet.fleets.status(campaign).batches == 0
    refused = worker.events("campaign refused")[0]
    assert refused["do"] == "start a worker of that version, or create the campaign anew"
    shown = fleet.command("campaign", "show", str(campaign)).stdout
    assert f"it waits: no live worker has model {refused['model']}, they have {refused['own']}" in shown
    fleet.send({"campaign": campaign, "kind": "batch", "number": 0}, queue=CONTROL_QUEUE)
    wait_until(lambda: bool(worker.events("task refused")), "it refuses a batch that reaches it", seconds=30)
    assert f"campaign 1 was made with model {refused['model']}" in worker.events("task refused")[0]["error"]


def test_pause_resume_stop(fleet: Fleet) -> None:
    # Batches that take a second or so: some are handed out and wait when the campaign is paused.
    campaign = str(fleet.create(10**6, batch_programs=200))
    worker = fleet.start_worker()
    wait_until(lambda: fleet.fleets.status(1).batches > 0, "it runs", seconds=60)
    assert fleet.command("campaign", "pause", campaign).exit_code == 0
    wait_until(lambda: bool(worker.events("nothing to do any more")), "what was handed out is put back", seconds=30)
    paused = fleet.fleets.status(1)
    assert paused.campaign.state is CampaignState.PAUSED
    assert fleet.command("campaign", "resume", campaign).exit_code == 0
    wait_until(lambda: fleet.fleets.status(1).batches > paused.batches + 1, "it goes on", seconds=60)
    assert fleet.command("campaign", "stop", campaign).exit_code == 0
    again = fleet.command("campaign", "resume", campaign)
    assert again.exit_code == 2
    assert again.stderr.startswith("mmufuzz: campaign 1 is stopped: it cannot become running; ")
    assert fleet.fleets.status(1).tasks == ()


@pytest.mark.parametrize("batch_programs", [1, 10**6])
def test_a_finding_is_visible_within_five_seconds(fleet: Fleet, batch_programs: int) -> None:
    """Almost any program of the profile shows something: at the end of its batch, or long before it."""

    def at_work() -> bool:
        return any(worker.tasks for worker in roster(fleet.engine, utc_now())) or fleet.fleets.status(1).batches > 0

    fleet.create(10**7, batch_programs)
    fleet.start_worker()
    wait_until(at_work, "the first batch runs", seconds=60)
    wait_until(lambda: bool(fleet.store.unjudged() or fleet.store.findings()), "something is visible", seconds=5)
    assert fleet.fleets.status(1).batches > 0 or batch_programs > 1
