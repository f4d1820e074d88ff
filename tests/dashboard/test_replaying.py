# SPDX-License-Identifier: GPL-2.0-only
"""Replays in child processes: what they give, and that their limits hold."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from dashboard import replaying, uploads
from dashboard.replaying import WAITING_MAX, Job, Replayer, ReplayFailed
from db.replays import Replays, TooManyWaiting
from db.schema import ReplayState
from db.session import StoreUnavailable, open_database
from fuzzer.reproducer import encode_reproducer
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.trace_json import make_document
from tests.golden import golden
from tests.service.waiting import wait_until

BODY = encode_reproducer(golden("bug-219588"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def changed_child(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes children do something else, once they have taken their limits."""

    def change(code: str) -> None:
        package = tmp_path / "dashboard"
        package.mkdir()
        (package / "__init__.py").write_text("")
        source = (ROOT / "dashboard" / "replay_child.py").read_text()
        marker = "    from fuzzer.compiled"
        (package / "replay_child.py").write_text(source.replace(marker, f"    {code}\n{marker}", 1))
        monkeypatch.setattr(replaying, "_SOURCES", tmp_path)

    return change


def test_it_gives_what_a_replay_in_this_process_gives() -> None:
    assert Replayer(20, 512, 1).trace(BODY) == make_document(golden("bug-219588"))


@pytest.mark.parametrize("form", FORMS)
def test_it_reads_every_export(form: str) -> None:
    data = FORMS[form].write(make_document(golden("bug-219588")))
    assert Replayer(20, 512, 1).trace(data).recheck.reproduced()


def test_a_second_time_costs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    replayer = Replayer(20, 512, 1)
    first = replayer.encoded_trace(BODY)
    monkeypatch.setattr(subprocess, "run", None)
    assert replayer.encoded_trace(BODY) is first


class Paused(Replayer):
    """Its children wait until those of their kind are let go; one whose file says so fails."""

    def __init__(self, at_once: int = 2) -> None:
        super().__init__(1, 64, at_once)
        self.open = {job: Event() for job in self._pools}
        self.ran: list[tuple[Job, bytes]] = []

    def _run(self, job: Job, body: bytes) -> bytes:
        assert self.open[job].wait(30)
        self.ran.append((job, body))
        if body == b"fails":
            raise ReplayFailed("not done")
        return body


@pytest.fixture
def paused() -> Iterator[Paused]:
    paused = Paused()
    yield paused
    for event in paused.open.values():
        event.set()
    paused.close()


def test_what_several_ask_for_is_run_once(paused: Paused) -> None:
    assert paused.known("trace", b"1") is None
    assert not paused.waits("trace", b"1")
    assert [paused.soon("trace", b"1") for _ in range(3)] == [None] * 3
    assert paused.waits("trace", b"1")
    paused.open["trace"].set()
    assert [paused.done("trace", b"1") for _ in range(3)] == [b"1"] * 3
    assert paused.known("trace", b"1") == b"1"
    assert paused.ran == [("trace", b"1")]


def test_a_failure_is_told_and_then_tried_again(paused: Paused) -> None:
    paused.open["trace"].set()
    for _ in range(2):
        with pytest.raises(ReplayFailed, match="not done"):
            paused.done("trace", b"fails")
    assert len(paused.ran) == 2


def test_only_so_many_wait(paused: Paused) -> None:
    for number in range(WAITING_MAX):
        assert paused.soon("trace", str(number).encode()) is None
    with pytest.raises(TooManyWaiting):
        paused.soon("trace", b"one more")
    assert paused.soon("search", b"another kind") is None
    paused.open["trace"].set()
    assert paused.done("trace", b"15") == b"15"
    assert paused.done("trace", b"one more") == b"one more"


def test_requests_that_wait_leave_threads_to_the_others(paused: Paused) -> None:
    with ThreadPoolExecutor(WAITING_MAX) as patient:
        waiting = [patient.submit(paused.encoded_trace, b"1") for _ in range(WAITING_MAX)]
        wait_until(lambda: paused._patient._value == 0, "all wait", 30)
        with pytest.raises(TooManyWaiting, match="16 requests wait for a replay"):
            paused.encoded_trace(b"1")
        paused.open["trace"].set()
        assert [one.result() for one in waiting] == [b"1"] * WAITING_MAX
    assert paused.encoded_trace(b"1") == b"1"
    assert paused.ran == [("trace", b"1")]


def test_what_takes_long_does_not_keep_pages_waiting(paused: Paused) -> None:
    for number in range(3):
        assert paused.soon("search", str(number).encode()) is None
        assert paused.soon("chances", str(number).encode()) is None
    paused.open["trace"].set()
    assert paused.done("trace", b"1") == b"1"
    assert paused.ran == [("trace", b"1")]


def test_what_was_asked_for_least_lately_makes_room(paused: Paused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "_CACHE_BYTES_MAX", 20)
    paused.open["trace"].set()
    for letter in (b"a" * 9, b"b" * 9, b"a" * 9, b"c" * 9):
        paused.done("trace", letter)
    paused.close()
    assert [paused.known("trace", letter * 9) for letter in (b"a", b"b", b"c")] == [b"a" * 9, None, b"c" * 9]


def test_what_waits_is_not_begun_at_the_end(paused: Paused) -> None:
    assert paused.soon("search", b"1") is None
    assert paused.soon("search", b"2") is None
    paused.open["search"].set()
    paused.close()
    assert paused.ran[:1] == [("search", b"1")]
    with pytest.raises(CancelledError):
        paused.done("search", b"3")


def test_memory_is_limited(changed_child: Callable[[str], None]) -> None:
    changed_child("sys.exit(len(bytearray(200 << 20)) and 2)")
    with pytest.raises(ReplayFailed, match="the replay failed: MemoryError"):
        Replayer(20, 128, 1).trace(BODY)
    with pytest.raises(ReplayFailed, match=r"^$"):
        Replayer(20, 512, 1).trace(BODY)


@pytest.mark.parametrize(
    ("child", "seconds", "told"),
    [
        ("while True: pass", 1, "not done after 1 s of processor time"),
        ("import signal; signal.pause()", 1, r"not done after 4 s$"),
        # Read, not tried: the limit is for everybody but root, who may be running this test.
        ("sys.exit(str(resource.getrlimit(resource.RLIMIT_NPROC)))", 5, r"the replay failed: \(0, 0\)$"),
    ],
    ids=["processor time", "the clock, for one that does nothing", "processes"],
)
def test_a_child_is_limited(changed_child: Callable[[str], None], child: str, seconds: int, told: str) -> None:
    changed_child(child)
    with pytest.raises(ReplayFailed, match=told):
        Replayer(seconds, 512, 1).trace(BODY)


def test_a_child_writes_no_file(changed_child: Callable[[str], None], tmp_path: Path) -> None:
    changed_child(f"import os; os.write(os.open({str(tmp_path / 'written')!r}, os.O_CREAT | os.O_WRONLY), b'x')")
    with pytest.raises(ReplayFailed, match="File too large"):
        Replayer(5, 512, 1).trace(BODY)


def test_a_child_knows_no_secret(changed_child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMUFUZZ_DATABASE", "postgresql://a:secret@host/x")
    changed_child("import os; sys.exit(' '.join(sorted(n for n in os.environ if n.startswith('MMUFUZZ'))))")
    with pytest.raises(ReplayFailed, match=r"the replay failed: MMUFUZZ_CORE$"):
        Replayer(5, 512, 1).trace(BODY)


def test_the_child_program_refuses_in_one_line() -> None:
    command = [sys.executable, "-m", "dashboard.replay_child", "trace", "10", "512"]
    run = subprocess.run(command, input=b"{}", capture_output=True, cwd=ROOT)
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.count(b"\n") == 1


def test_what_waits_survives_a_restart(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    replays = Replays(engine)
    receipt = replays.submit(BODY, "somebody").id
    behind = uploads.Uploads(replays, Replayer(20, 512, 1))
    behind.resume()
    behind._thread.submit(lambda: None).result(timeout=60)
    row = replays.get(receipt)
    assert row is not None
    assert (row.state, row.error) == (ReplayState.DONE, None)
    behind.close()
    engine.dispose()


class Forgetful(Replays):
    """A database that is away when the first result is to be stored."""

    away = True

    def finish(self, receipt: str, result: bytes | None, error: str | None) -> None:
        if self.away:
            self.away = False
            raise StoreUnavailable("database: away")
        super().finish(receipt, result, error)


def test_a_result_waits_for_the_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its page would look again for ever."""
    monkeypatch.setattr(uploads, "_AGAIN_SECONDS", 0)
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    replays, replayer = Forgetful(engine), Paused()
    replayer.open["trace"].set()
    behind = uploads.Uploads(replays, replayer)
    receipt = behind.submit(BODY, "somebody").id
    behind._thread.submit(lambda: None).result(timeout=60)
    assert replays.trace(receipt) == BODY
    assert replayer.ran == [("trace", BODY)]
    behind.close()
    replayer.close()
    engine.dispose()


def test_an_upload_that_was_not_begun_waits_for_the_next_start(tmp_path: Path, paused: Paused) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    replays = Replays(engine)
    paused.close()
    behind = uploads.Uploads(replays, paused)
    receipt = behind.submit(BODY, "somebody").id
    behind._thread.submit(lambda: None).result(timeout=60)
    behind.close()
    assert replays.waiting() == [receipt]
    engine.dispose()
