# SPDX-License-Identifier: GPL-2.0-only
"""What anybody may put into the queue, or into a campaign: told in one line, and the workers live on."""

import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from kombu import Connection
from kombu.transport import redis

from db.session import StoreError
from tests.cli.shell import changed_sources
from tests.service.fleet import Fleet
from tests.service.waiting import wait_until
from workers.app import queue_names
from workers.heartbeat import Heartbeat
from workers.mailbox import Letter, Mailbox
from workers.permits import Permits
from workers.tasks import WORKER_NAME, WorkerProcess

MEGABYTE = 2**20


def test_messages_that_are_no_tasks(fleet: Fleet) -> None:
    """Each is logged and dropped, and no log line repeats it."""
    campaign = fleet.create(5)
    worker = fleet.start_worker()
    queue = queue_names()[1]
    task = {"campaign": campaign, "kind": "batch", "number": 0}
    fleet.send({"campaign": 999, "kind": "batch", "number": 0}, queue=queue)
    for arguments in (
        [task | {"number": -1}],
        [task | {"number": 10**30}],
        [task | {"kind": "format\n\x1b[31m"}],
        [["\x00"] * 10],
        [],
        [task, task],
        [{"campaign": campaign, "kind": "x" * 100 * MEGABYTE, "number": 0}],
    ):
        fleet.send(*arguments, queue=queue)
    fleet.send(task, queue=queue, bind=True)
    wait_until(lambda: len(worker.events("message dropped")) == 8, "all are dropped", seconds=120)
    assert [entry["error"] for entry in worker.events("task refused")] == ["no campaign 999"]
    assert fleet.finish(campaign).programs == 5
    assert max(map(len, worker.log_file.read_text().splitlines())) < 10_000


def test_bytes_that_are_no_messages(fleet: Fleet) -> None:
    """As somebody else who uses the same Redis server might leave."""
    campaign = fleet.create(5)
    worker = fleet.start_worker()
    queue, client = queue_names()[1], fleet.servers.broker.client()
    envelope = {"body": "gASVBAAAAAAAAACMAGFilC4=", "headers": {}, "properties": {"delivery_tag": "1"}}
    pickled = envelope | {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    for message in (b"\xff\xfe no json", b"{}", b"[1, 2]", json.dumps(pickled).encode(), b"x" * 100 * MEGABYTE):
        client.lpush(queue, message)
    status = fleet.finish(campaign)
    assert (status.programs, status.tasks) == (5, ())
    assert worker.process.poll() is None
    assert client.llen(queue) == 0


def test_a_reproducer_of_a_hundred_megabytes(fleet: Fleet, tmp_path: Path) -> None:
    """The finding is kept without it, and it is told why."""
    encoded = "return msgspec.json.format(msgspec.json.encode(reproducer), indent=1)"
    huge = f"{encoded} + b' ' * {100 * MEGABYTE}"
    sources = changed_sources(tmp_path / "sources", "fuzzer/reproducer.py", encoded, huge)
    campaign = fleet.create(5)
    worker = fleet.start_worker(sources=sources)
    status = fleet.finish(campaign)
    assert (status.programs, status.unjudged) == (5, 0)
    rows = fleet.store.findings(campaign)
    assert rows
    assert {row.reproducer for row in rows} == {None}
    errors = {entry["error"] for entry in worker.events("task set aside")}
    assert all(re.fullmatch(r"ReproducerError: reproducer is 1048\d{5} bytes, more than 1048576", e) for e in errors)
    assert len(errors) > 0
    assert "more than 1048576" in fleet.command("campaign", "show", str(campaign)).stdout


NAMES_REFUSED = ("two\nlines", "\x1b[31mred", "\u202eright to left", "x" * 5000, "not\udcffUTF-8")
NAMES = (
    "'; DROP TABLE campaigns; --",
    "[red]x[/red] [/]",
    "%s {0} \\N{BULLET}",
    "<script>alert(1)</script>",
    "ж" * 300,
)


def test_names_that_draw_on_terminals_are_refused(fleet: Fleet) -> None:
    for name in NAMES_REFUSED:
        with pytest.raises(StoreError, match="name: expected 1 to 4096 printable characters"):
            fleet.create(5, name=name)
    refused = fleet.command("campaign", "create", "--programs", "5", "--name", NAMES_REFUSED[1])
    assert refused.exit_code == 2
    told = "mmufuzz: name: expected at most 200 printable characters; see 'mmufuzz campaign create --help'\n"
    assert refused.stderr == told
    assert fleet.fleets.statuses(10) == []


def test_names_that_are_only_text(fleet: Fleet) -> None:
    """Nothing of them is SQL, markup of the terminal library, or a format."""
    for name in NAMES:
        fleet.create(5, name=name)
    listed = fleet.command("campaign", "list").stdout
    assert [name for name in NAMES if name not in listed] == []


@pytest.mark.parametrize("word", ["show", "stop"])
def test_unknown_campaigns(fleet: Fleet, word: str) -> None:
    refused = fleet.command("campaign", word, "999")
    assert refused.exit_code == 2
    assert refused.stderr == "mmufuzz: no campaign 999; 'mmufuzz campaign list' shows the campaigns\n"


def test_an_acknowledgement_that_the_broker_never_got(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kombu logs it and waits for it for ever; the heartbeat sees to it that the worker connects again."""
    monkeypatch.setattr(redis.Transport, "Channel", Mailbox)
    monkeypatch.setenv(WORKER_NAME, "deaf")
    monkeypatch.setattr(WorkerProcess, "permits", Permits(1))
    broker = fleet.servers.broker
    with Connection(broker.url) as connection:
        queue = connection.SimpleQueue("letters")
        queue.put("of a task")
        queue.put("of another")
        first, letter = queue.get(timeout=10), queue.get(timeout=10)
        first.ack_log_error(logging.getLogger(), connection.connection_errors)
        assert Letter.unacknowledged == 0
        broker.kill()
        letter.ack_log_error(logging.getLogger(), connection.connection_errors)
        broker.start()
        assert Letter.unacknowledged == 1
        with pytest.raises(ConnectionResetError):
            Heartbeat(SimpleNamespace()).listen()
        assert Letter.unacknowledged == 0
