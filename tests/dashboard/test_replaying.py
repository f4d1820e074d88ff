# SPDX-License-Identifier: GPL-2.0-only
"""Replays in child processes: what they give, and that their limits hold."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboard import replaying
from dashboard.replaying import Replayer, ReplayFailed
from dashboard.uploads import Uploads
from db.replays import Replays
from db.schema import ReplayState
from db.session import open_database
from fuzzer.export.forms import FORMS
from fuzzer.export.trace_json import make_trace
from fuzzer.reproducer import encode_reproducer
from tests.golden import golden

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
    assert Replayer(20, 512, 1).trace(BODY) == make_trace(golden("bug-219588"))


@pytest.mark.parametrize("form", FORMS)
def test_it_reads_every_export(form: str) -> None:
    data = FORMS[form].write(make_trace(golden("bug-219588")))
    assert Replayer(20, 512, 1).trace(data).recheck.reproduced()


def test_a_second_time_costs_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    replayer = Replayer(20, 512, 1)
    first = replayer.encoded_trace(BODY)
    monkeypatch.setattr(subprocess, "run", None)
    assert replayer.encoded_trace(BODY) is first


def test_memory_is_limited(changed_child: Callable[[str], None]) -> None:
    changed_child("sys.exit(len(bytearray(200 << 20)) and 2)")
    with pytest.raises(ReplayFailed, match="the replay failed: MemoryError"):
        Replayer(20, 128, 1).trace(BODY)
    with pytest.raises(ReplayFailed, match=r"^$"):
        Replayer(20, 512, 1).trace(BODY)


def test_processor_time_is_limited(changed_child: Callable[[str], None]) -> None:
    changed_child("while True: pass")
    with pytest.raises(ReplayFailed, match="not done after 1 s of processor time"):
        Replayer(1, 512, 1).trace(BODY)


def test_a_child_that_does_nothing_is_ended_by_the_clock(changed_child: Callable[[str], None]) -> None:
    changed_child("import signal; signal.pause()")
    with pytest.raises(ReplayFailed, match=r"not done after 4 s$"):
        Replayer(1, 512, 1).trace(BODY)


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
    uploads = Uploads(replays, Replayer(20, 512, 1))
    uploads.resume()
    uploads._thread.submit(lambda: None).result(timeout=60)
    row = replays.get(receipt)
    assert row is not None
    assert (row.state, row.error) == (ReplayState.DONE, None)
    uploads.close()
    engine.dispose()
