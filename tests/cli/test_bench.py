# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz bench`, as small as it can be: nothing is said here about how fast anything is."""

import shlex
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from cli.bench.report import BenchReport
from cli.commands.bench import COMPARED, OF_HYPOTHESIS
from cli.main import cli
from tests.cli.shell import COMMAND, ROOT, environment, mmufuzz, report_in

SMALL = "--repetitions 1 --seconds 0.01"
BUGS = ("read-fault-takes-mmu-writable", "notifier-without-flush")


@pytest.fixture(scope="module")
def benched(tmp_path_factory: pytest.TempPathFactory) -> tuple[BenchReport, str]:
    """Everything but the comparison of checkouts."""
    folder = tmp_path_factory.mktemp("bench")
    bugs = " ".join(f"--bug {bug}" for bug in BUGS)
    done = mmufuzz(f"bench {SMALL} --seeds 1 --limit 0.01 {bugs} --json report.json", folder, core="interpreted")
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode((folder / "report.json").read_bytes(), type=BenchReport), done.stdout


def test_every_arm_is_measured_side_by_side(benched: tuple[BenchReport, str]) -> None:
    report, text = benched
    assert report.first == "interpreted"
    assert [speed.name for speed in report.speed] == ["interpreted", *OF_HYPOTHESIS]
    assert report.speed[0].ratio.median == 1.0
    assert all(speed.name in text for speed in report.speed)
    assert not report.interrupted


def test_every_bug_is_searched_by_every_arm_and_every_search_is_counted(benched: tuple[BenchReport, str]) -> None:
    report, text = benched
    assert [bug.bug for bug in report.bugs] == list(BUGS)
    for bug in report.bugs:
        assert [arm.name for arm in bug.arms] == ["interpreted", *OF_HYPOTHESIS]
        assert all(arm.time.events + arm.time.censored == 1 for arm in bug.arms)
    for overall in report.overall:
        assert overall.bugs + overall.without == len(BUGS)
        assert f"{overall.censored} of {overall.attempts} searches cut off" in text


def test_why_there_is_no_compiled_arm_is_said(benched: tuple[BenchReport, str]) -> None:
    report, text = benched
    assert len(report.missing) == 1
    assert "no compiled arm: interpreted: asked for by MMUFUZZ_CORE" in text


def test_two_checkouts_are_compared_on_the_same_programs(tmp_path: Path) -> None:
    done = mmufuzz(
        f"bench --against {ROOT} --programs 10 {SMALL} --seeds 0 --json report.json", tmp_path, core="interpreted"
    )
    assert done.returncode == 0, done.stderr
    report = report_in(tmp_path)
    assert [speed["workload"] for speed in report["against"]] == list(COMPARED)
    assert all(speed["ratio"]["median"] > 0 for speed in report["against"])
    assert report["against_programs"] == 10
    assert report["bugs"] == []


def test_the_shares_of_a_search_are_told(tmp_path: Path) -> None:
    done = mmufuzz("bench --profile --programs 20 --workload tdp --json report.json", tmp_path)
    assert done.returncode == 0, done.stderr
    shares = report_in(tmp_path)["shares"]
    assert shares["programs"] == 20
    assert sum(share["percent"] for share in shares["shares"]) == pytest.approx(100)
    assert all(share["stage"] in done.stdout for share in shares["shares"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--against nosuch", "Directory 'nosuch' does not exist"),
        ("--against .", "is no checkout"),
        ("--against ''", "is empty"),
        ("--seeds -1", "'--seeds': -1 is not in the range"),
        ("--limit 0", "'--limit': 0.0 is not in the range"),
        ("--workload nosuch", "'nosuch' is not one of"),
        ("--bug nosuch", "'nosuch' is not one of"),
        ("--json .", "is a directory"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["bench", *shlex.split(words)])
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path) -> None:
    words = shlex.split("bench --profile --programs 100000 --json report.json")
    process = subprocess.Popen(
        [*COMMAND, *words], cwd=tmp_path, env=environment(core="interpreted"), stdout=subprocess.PIPE, text=True
    )
    # Told before it listens, it would end as any Python does.
    assert process.stdout is not None
    assert process.stdout.readline().startswith("measuring")
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert report_in(tmp_path)["interrupted"]
    assert "interrupted: what is above was measured" in text
