# SPDX-License-Identifier: GPL-2.0-only
"""Every form carries the reproducer along, says how to replay itself, and can be replayed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fuzzer.reproducer import ReproducerError, decode_reproducer
from fuzzer.tell.export.chrome_trace import chrome_trace, encode_chrome_trace
from fuzzer.tell.export.envelope import reproducer_bytes
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.pytest_file import pytest_file
from fuzzer.tell.export.trace_json import ReplayDocument, make_document
from tests.golden import NAMES, golden

ROOT = Path(__file__).resolve().parents[4]


def trace() -> ReplayDocument:
    return make_document(golden("bug-219588"))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_the_reproducer_is_in_it(name: str, form: str) -> None:
    data = FORMS[form].write(make_document(golden(name)))
    assert decode_reproducer(reproducer_bytes(data)) == golden(name)


@pytest.mark.parametrize("form", FORMS)
def test_its_head_says_how_to_replay_it(form: str) -> None:
    head = FORMS[form].write(trace())[:200].decode()
    assert ("python -m pytest FILE" if form == "pytest" else "mmufuzz replay FILE") in head


@pytest.mark.parametrize("form", [form for form in FORMS if form != "reproducer"])
def test_it_names_the_known_hole_that_it_is(form: str) -> None:
    def says(name: str) -> bool:
        text = FORMS[form].write(make_document(golden(name))).decode()
        return "# A known hole, e500-writable-null" in text or '"known":"e500-writable-null"' in text

    assert says("e500-writable-null")
    assert not says("bug-219588")


def test_the_same_reproducer_gives_the_same_bytes() -> None:
    for form in FORMS.values():
        assert form.write(trace()) == form.write(trace())


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"reproducer"', b"# reproducer: no", b"[" * 9000])
def test_what_is_no_export_stays_as_it_is(data: bytes) -> None:
    assert reproducer_bytes(data) == data


def test_an_exported_trace_is_read_back() -> None:
    told = trace()
    assert msgspec.json.decode(FORMS["trace"].write(told), type=ReplayDocument) == told
    assert told.recheck.reproduced()
    assert len(told.frames) == len(told.rows) + 1
    assert told.actors == ("vCPU0", "vCPU1")


@pytest.mark.slow
class TestPytestFile:
    def run(self, folder: Path, text: str) -> subprocess.CompletedProcess[str]:
        (folder / "test_it.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
        return subprocess.run(
            command,
            cwd=folder,
            env={"PYTHONPATH": str(ROOT), "MMUFUZZ_CORE": "interpreted"},
            text=True,
            capture_output=True,
        )

    def test_passes(self, tmp_path: Path) -> None:
        run = self.run(tmp_path, pytest_file(golden("bug-219588")))
        assert run.returncode == 0, run.stdout
        assert "1 passed" in run.stdout

    def test_fails_once_the_finding_is_gone(self, tmp_path: Path) -> None:
        healed = msgspec.structs.replace(golden("bug-219588"), switches=())
        run = self.run(tmp_path, pytest_file(healed))
        assert run.returncode == 1
        assert "the finding no longer shows" in run.stdout

    def test_fails_on_another_trace(self, tmp_path: Path) -> None:
        run = self.run(tmp_path, pytest_file(msgspec.structs.replace(golden("bug-219588"), digest="0" * 16)))
        assert run.returncode == 1
        assert "another trace" in run.stdout

    def test_no_text_of_a_file_becomes_code(self) -> None:
        finding = msgspec.structs.replace(golden("bug-219588").finding, what="x\nimport os\n", story="a\u2028b\n#")
        bad = msgspec.structs.replace(golden("bug-219588"), finding=finding, signature="s\nraise SystemExit")
        text = pytest_file(bad)
        compile(text, "test_it.py", "exec")
        assert not [line for line in text.splitlines() if line.startswith(("import os", "raise SystemExit"))]

    def test_refuses_a_change_of_the_model(self) -> None:
        with pytest.raises(ReproducerError, match="can be no pytest file"):
            pytest_file(msgspec.structs.replace(golden("bug-219588"), diff="--- a\n+++ b\n"))


class TestChromeTrace:
    def events(self) -> list[dict[str, Any]]:
        events = json.loads(encode_chrome_trace(chrome_trace(trace())))["traceEvents"]
        assert isinstance(events, list)
        return events

    def test_a_process_per_model_and_a_thread_per_actor(self) -> None:
        names = [(e["pid"], e["tid"], e["args"]["name"]) for e in self.events() if e["ph"] == "M"]
        assert names == [
            *((1, 0, "OLD"), (1, 1, "vCPU0"), (1, 2, "vCPU1")),
            *((2, 0, "NEW"), (2, 1, "vCPU0"), (2, 2, "vCPU1")),
        ]

    def test_slices_of_a_thread_nest(self) -> None:
        """What trace viewers demand: two slices are apart or one holds the other."""
        slices = [(e["pid"], e["tid"], e["ts"], e["ts"] + e["dur"]) for e in self.events() if e["ph"] == "X"]
        for pid, tid, start, end in slices:
            for other in slices:
                if other[:2] == (pid, tid) and other[2] < end and start < other[3]:
                    assert (start <= other[2] and other[3] <= end) or (other[2] <= start and end <= other[3])

    def test_marks_what_broke_and_where_they_part(self) -> None:
        instants = [(e["pid"], e["name"].partition(":")[0], e["ts"]) for e in self.events() if e["ph"] == "i"]
        told = trace()
        assert (2, "first difference", told.first_difference * 1000) in instants
        assert [name for pid, name, _ in instants if pid == 1] == ["stale-writable-mmuw"]

    def test_a_turn_says_where_its_point_is(self) -> None:
        shown = {(e["name"], e["args"]["place"]) for e in self.events() if "place" in e.get("args", {})}
        place = "kvm_mmu_faultin_pfn: the page is in hand, the unlocked stale check comes next"
        assert ("to fault.pfn", place) in shown
        assert not [name for name, _ in shown if name in ("ends", "judged")]
