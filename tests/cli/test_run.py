# SPDX-License-Identifier: GPL-2.0-only
"""A search from the command line: what it finds, what it leaves behind, how it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import cli
from db.schema import CampaignState
from tests.changes import NO_FLUSH
from tests.cli.shell import COMMAND, Searched, changed_sources, environment, mmufuzz, report_in, store_in


def test_report_database_and_directory_agree(searched: Searched) -> None:
    report = searched.report
    store = store_in(searched.folder)
    assert searched.process.returncode == 0, searched.process.stderr
    assert (report["programs"], report["seed"], report["core"]) == (60, 1, "interpreted")
    totals = store.totals(report["campaign"])
    assert (totals.programs, totals.steps, totals.coverage) == (60, report["steps"], report["coverage"])
    assert {str(total.verdict): total.findings for total in totals.verdicts} == report["verdicts"]
    assert sum(report["verdicts"].values()) == len(report["findings"]) > 10
    for found in report["findings"]:
        row = store.finding(found["signature"])
        assert row is not None
        assert row.reproducer is not None
        assert row.count == found["count"]
        assert row.reproducer.minimized
        sizes = (row.reproducer.operations, row.reproducer.preemptions)
        assert sizes == (found["operations"], found["preemptions"])
        assert store.reproducer(found["signature"]) == (searched.folder / found["reproducer"]).read_bytes()
    assert len(searched.files) == len(report["findings"]), "one file per signature, no scratch files"
    assert store.campaigns()[0].state is CampaignState.FINISHED


def test_summary_tells_each_patch_and_how_to_replay(searched: Searched) -> None:
    lines = searched.process.stdout.splitlines()
    assert "age-elides-tlb-flush: documented (fewer-flushes)" in lines
    assert lines[-1].startswith("replay the first with:  mmufuzz replay findings/")
    assert (searched.folder / lines[-1].split()[-1]).exists()


def test_same_seed_and_jobs_give_the_same_findings(tmp_path: Path) -> None:
    reports, bodies = [], []
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        words = "run --old no-struct-page --profile tdp --programs 25 --seed 7 --jobs 1 --json -"
        run = mmufuzz(words, folder=folder)
        reports.append(json.loads(run.stdout) | {"seconds": 0})
        bodies.append({file.name: file.read_bytes() for file in (folder / "findings").iterdir()})
    assert reports[0] == reports[1]
    assert bodies[0] == bodies[1]
    assert bodies[0]


def test_jobs_share_the_seeds(tmp_path: Path) -> None:
    words = "run --old no-struct-page --profile tdp --programs 11 --seed 1000 --jobs 3 --json report.json"
    assert mmufuzz(words, folder=tmp_path).returncode == 0
    totals = store_in(tmp_path).totals(1)
    assert (totals.batches, totals.programs) == (3, 11)


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    run = mmufuzz("run --old new --new new --profile tdp --programs 40 --seed 3", folder=tmp_path)
    assert run.returncode == 0
    assert "no difference; search longer with --seconds" in run.stdout
    assert list((tmp_path / "findings").iterdir()) == []


def test_without_a_profile_all_that_differs_is_searched(tmp_path: Path) -> None:
    """Seed 18 is of e500."""
    run = mmufuzz("run --programs 2 --seed 17 --jobs 1 --json report.json", folder=tmp_path)
    report = report_in(tmp_path)
    assert "profiles mixed 29 %, host 4 %, " in run.stdout
    assert report["profiles"] in run.stdout
    assert report["profile"].startswith("mixed*8,host,")
    of_others = next(found for found in report["findings"] if found["profile"] == "e500")
    told = mmufuzz(f"replay {of_others['reproducer']}", folder=tmp_path)
    assert "drawn       from the profile e500" in told.stdout
    assert "reproduced exactly" in told.stdout


def test_a_regression_may_end_it(tmp_path: Path) -> None:
    (tmp_path / "my.patch").write_text(NO_FLUSH, encoding="utf-8")
    words = "run --apply my.patch --profile tdp --seconds 300 --seed 1 --jobs 1 --until-regression --json report.json"
    assert mmufuzz(words, folder=tmp_path).returncode == 1
    report = report_in(tmp_path)
    assert report["verdicts"]["regression"] > 0
    assert report["seconds"] < 150


def test_budget_of_seconds(tmp_path: Path) -> None:
    run = mmufuzz("run --old no-struct-page --profile tdp --seconds 1 --jobs 1 --json report.json", folder=tmp_path)
    report = report_in(tmp_path)
    assert run.returncode == 0
    assert report["seconds"] >= 1
    assert f"seed {report['seed']}" in run.stdout, "a seed that was drawn must be told, or nobody can repeat the run"


def test_unexplained_finding_is_an_error(tmp_path: Path) -> None:
    # A catalogue that does not allow what demote-iter-yielded-warn does.
    sources = changed_sources(
        tmp_path / "sources",
        "reference_mmu/changelog/catalogue/x86_mmu.yaml",
        "  announced: [fewer-checks, warning-gone]\n  allowed:\n    - fewer-checks\n    - warning-gone",
        "  announced: [warning-gone]\n  allowed:\n    - warning-gone",
    )
    words = "--old no-struct-page --new no-struct-page+demote-iter-yielded-warn --profile tdp --programs 5 --seed 1"
    run = mmufuzz(f"run {words} --strategy random-walk --json -", folder=tmp_path, sources=sources)
    report = json.loads(run.stdout)
    assert run.returncode == 1
    assert report["verdicts"]["unexplained"] == len(report["findings"]) > 0
    assert "demote-iter-yielded-warn: unexplained (fewer-checks)" in run.stderr.splitlines()


def test_a_search_process_that_dies_is_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    head = "def generate_script(seed: int, profile: Profile) -> Script:\n"
    doc = '    """The program of a seed as machines run it: a pure function of both arguments."""\n'
    sources = changed_sources(
        tmp_path / "sources", "fuzzer/program/generate.py", head + doc, head + "    assert seed != 16, 'planted'\n"
    )
    words = "run --old no-struct-page --profile tdp --programs 20 --seed 1 --jobs 2 --json report.json"
    run = mmufuzz(words, folder=tmp_path, sources=sources)
    report = report_in(tmp_path)
    assert run.returncode == 1
    assert "AssertionError: planted" in run.stderr
    assert run.stderr.splitlines()[-1].startswith("mmufuzz: search process ")
    assert 10 <= report["programs"] < 20, "one process did its ten, the other died at its sixth"
    assert store_in(tmp_path).totals(1).programs == report["programs"]


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["ctrl-c", "sigterm", "sighup"],
)
def test_a_signal_stops_the_search_and_keeps_what_was_found(tmp_path: Path, number: int, code: int) -> None:
    words = "run --old no-struct-page --profile tdp --seconds 200 --seed 1 --json report.json"
    with subprocess.Popen(
        [*COMMAND, *words.split()],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert any("programs (" in line for line in iter(process.stdout.readline, ""))
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: the search processes get it, too
        else:
            process.send_signal(number)
        rest, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors == ""
    report = report_in(tmp_path)
    store = store_in(tmp_path)
    assert store.totals(1).programs == report["programs"] > 0
    assert {row.signature for row in store.findings()} == {found["signature"] for found in report["findings"]}
    assert len(list((tmp_path / "findings").iterdir())) == len(report["findings"]) > 0
    assert store.campaigns()[0].state is CampaignState.STOPPED
    assert "replay the first with:" in rest


def test_a_full_disk_ends_the_search_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cli.tally.write_whole", fail)
    result = CliRunner().invoke(cli, "run --profile tdp --programs 5 --seed 1 --jobs 1")
    assert result.exit_code == 2
    assert result.stderr.startswith("mmufuzz: No space left on device; the search has ended")
    assert result.stderr.count("\n") == 1
