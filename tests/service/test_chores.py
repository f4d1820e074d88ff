# SPDX-License-Identifier: GPL-2.0-only
"""What workers do beside campaigns: run reproducers of another model again, and tell a real HTTP server of findings."""

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple

import msgspec
import pytest

from db.history import Histories
from db.notifications import Notifications, Waiting
from db.schema import FindingState
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, signature
from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES
from reference_mmu.version import model_version
from tests.cli.made import FINDING, reproducer_file
from tests.cli.shell import ROOT
from tests.db.stored import NAME, NIGHTLY, SECOND, SECOND_NAME, THIRD, THIRD_NAME, VIOLATION
from tests.service.fleet import Fleet, Worker
from tests.service.waiting import wait_until
from workers.rechecking import rechecked

SECRET = "correct horse"


class Message(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes


class Receiver(ThreadingHTTPServer):
    """Answers each request with the next of `answers`, with 204 when there is none left."""

    def __init__(self, *answers: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.messages: list[Message] = []

    def variables(self) -> dict[str, str]:
        url = f"http://127.0.0.1:{self.server_address[1]}/hook?token=hidden"
        return {"MMUFUZZ_WEBHOOK_URL": url, "MMUFUZZ_WEBHOOK_SECRET": SECRET}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(Message(self.path, dict(self.headers), body))
        answer = self.server.answers.pop(0) if self.server.answers else 204
        self.send_response(answer)
        if answer == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `messages`."""


@contextmanager
def receiver(*answers: int) -> Iterator[Receiver]:
    with Receiver(*answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def start(fleet: Fleet, server: Receiver, slots: int = 1, **variables: str) -> Worker:
    """A worker that tells this receiver."""
    return fleet.start_worker(slots, ROOT, **server.variables(), **variables)


def store(fleet: Fleet, *findings: tuple[Finding, bytes | None], model: str | None = None) -> int:
    """A campaign of one process that found these."""
    searched = msgspec.structs.replace(NIGHTLY, model_version=model or model_version())
    campaign = fleet.store.create_campaign(searched)
    found = tuple(FoundFinding(finding, 1, 1, body) for finding, body in findings)
    fleet.store.record(BatchResult(campaign, 0, 1, 10, 100, 0.1, 5, found))
    return campaign


def test_first_findings_are_told_signed_and_once(fleet: Fleet) -> None:
    with receiver() as server:
        worker = start(fleet, server, slots=2)
        store(fleet, (VIOLATION, None), (THIRD, None))
        wait_until(lambda: len(worker.events("notified")) == 1, "the first is told", seconds=60)
        store(fleet, (VIOLATION, None), (SECOND, None))
        wait_until(lambda: len(worker.events("notified")) == 2, "the second is told", seconds=60)
        first, second = server.messages
    told = json.loads(first.body)
    assert (told["event"], told["campaign"], told["signature"]) == ("first finding", 1, NAME)
    assert msgspec.convert(told["finding"], Finding) == VIOLATION
    assert json.loads(second.body)["signature"] == SECOND_NAME
    stamp = first.headers["X-Mmufuzz-Timestamp"]
    assert abs(int(stamp) - time.time()) < 120
    expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + first.body, hashlib.sha256).hexdigest()
    assert first.headers["X-Mmufuzz-Signature"] == f"sha256={expected}"
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]
    assert "hidden" not in worker.log_file.read_text(encoding="utf-8")


@pytest.mark.parametrize("answer", [500, 302])
def test_a_receiver_that_does_not_take_it_gets_it_again(fleet: Fleet, answer: int) -> None:
    """With the same key; a redirection is not followed."""
    with receiver(answer) as server:
        worker = start(fleet, server)
        store(fleet, (VIOLATION, None))
        wait_until(lambda: bool(worker.events("notified")), "the second try succeeds", seconds=90)
        first, second = server.messages
    assert first.path == second.path == "/hook?token=hidden"
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.body == second.body
    assert [entry["error"] for entry in worker.events("notification failed")] == [f"the receiver answers {answer}"]
    assert Notifications(fleet.engine).count() == Waiting(0, 0)


def test_the_stop_switch_and_the_rate(fleet: Fleet) -> None:
    with receiver() as server:
        store(fleet, (VIOLATION, None), (SECOND, None))
        stopped = start(fleet, server, MMUFUZZ_WEBHOOK_STOPPED="1")
        campaign = store(fleet, (THIRD, b"garbage"), model="older")
        wait_until(lambda: bool(stopped.events("rechecked")), f"chores are done for {campaign}", seconds=60)
        assert server.messages == []
        stopped.kill()
        limited = start(fleet, server, MMUFUZZ_WEBHOOK_HOURLY_MAX="1")
        wait_until(lambda: bool(limited.events("notified")), "one is told", seconds=60)
        store(fleet, (msgspec.structs.replace(THIRD, what="model-bug"), b"garbage"), model="older")
        wait_until(lambda: bool(limited.events("rechecked")), "chores went on", seconds=60)
        assert len(server.messages) == 1
    assert Notifications(fleet.engine).count() == Waiting(1, 0)


def test_a_worker_of_another_model_runs_what_is_stored(fleet: Fleet) -> None:
    body = reproducer_file(generate(1, PROFILES["tdp"]))
    expected = rechecked(body)
    campaign = store(fleet, (FINDING, body), (THIRD, b"garbage"), model="older")
    current = store(fleet, (THIRD, b"garbage"))
    worker = fleet.start_worker(slots=2)
    wait_until(lambda: len(worker.events("rechecked")) == 2, "both are rechecked", seconds=60)
    found = fleet.store.finding(signature(FINDING), campaign)
    assert found is not None
    assert found.state is expected.state is not FindingState.INVALID
    (row,) = Histories(fleet.engine).of(THIRD_NAME, campaign)
    assert (row.from_state, row.to_state) == (FindingState.OPEN, FindingState.INVALID)
    assert row.why.startswith(f"model {model_version()}: not a reproducer: ")
    assert row.who.count("-") >= 2, "the name of the worker"
    assert Histories(fleet.engine).of(THIRD_NAME, current) == [], "found with this model"
    recheck = fleet.command("recheck", "--db", fleet.url)
    assert (recheck.exit_code, recheck.stdout[:18]) == (0, "nothing to recheck")
