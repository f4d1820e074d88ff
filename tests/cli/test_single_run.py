# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz replay` without a reproducer: two columns whatever comes out, the same each time, and a verdict on it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from fuzzer.judge.finding import Verdict
from fuzzer.judge.seen import seen_in
from fuzzer.one_program import search_program
from fuzzer.one_run import OneRun, run_once
from fuzzer.program.ops import Read, Write
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import trace_steps
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.config import Config
from tests.cli.made import FINDING
from tests.fuzzer.test_one_program import SILENT

# Read and write of one page: bug 219588 if the write comes between the reader's page and its SPTE.
RACE = Program(Config(), (Actor("vcpu", (Read(0, 5, upgrade_fails=True),)), Actor("vcpu", (Write(1, 5),))))


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.json"
    file.write_bytes(RACE.encode())
    return file


def plain(program: Program) -> Any:
    return json.loads(program.encode())


def replay(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, words)])


def document(*words: str | Path) -> Any:
    result = replay(*words, "--json", "-")
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_a_run_that_shows_nothing_is_told_all_the_same(program: Path) -> None:
    result = replay(program, "--old", "no-struct-page")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert "compared    OLD = no-struct-page, NEW = new; OLD leads" in lines
    assert "schedule    nobody is preempted: each runs until done or waiting, then the next" in lines
    assert any(line.split()[:3] == ["1", "vCPU0", "read"] for line in lines)
    assert ">>>" not in result.stdout
    assert "nothing found: both did the same, as far as anybody can see, and no invariant broke" in lines


def test_another_interleaving_is_named_where_nothing_was_found(tmp_path: Path) -> None:
    program = tmp_path / "program.json"
    program.write_bytes(SILENT.encode())
    result = replay(program)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == f"another interleaving:  mmufuzz replay {program} --seed 1"


def test_nobody_is_preempted_without_a_seed(program: Path) -> None:
    told = document(program, "--old", "no-struct-page")
    assert (told["seed"], told["strategy"], told["leader"], told["first_difference"]) == (None, None, "old", -1)
    actors = [row["actor"] for row in told["rows"][:-1]]
    assert actors == sorted(actors)
    assert set(actors) == {"vCPU0", "vCPU1"}


def test_a_seed_is_the_interleaving_and_the_same_each_time(program: Path) -> None:
    told = document(program, "--seed", "3", "--strategy", "random-walk")
    assert told == document(program, "--seed", "3", "--strategy", "random-walk")
    assert (told["seed"], told["strategy"], told["leader"]) == (3, "random-walk", "new")
    orders = {tuple(row["actor"] for row in document(program, "--seed", seed)["rows"]) for seed in "01234567"}
    assert len(orders) > 2


def test_a_seed_is_the_schedule_of_that_number_of_an_upload(program: Path) -> None:
    """What the dashboard says of an uploaded program can be looked at."""
    shown = search_program(RACE, 40, lambda: True).shown
    assert shown
    for one in shown:
        told = document(program, "--seed", str(one.first))
        found = {(finding["what"], finding["verdict"], tuple(finding["patches"])) for finding in told["findings"]}
        assert (one.finding.what, one.finding.verdict, one.finding.patches) in found


def test_a_strategy_alone_means_seed_0(program: Path) -> None:
    assert document(program, "--strategy", "pct") == document(program, "--strategy", "pct", "--seed", "0")
    assert document(program, "--strategy", "pct")["strategy"] == "pct"


def test_what_it_shows_is_judged(program: Path) -> None:
    """Some interleaving of so few turns finds the bug: the chance that 40 random walks do not is below 1 in 1000."""
    for seed in range(0, 80, 2):
        result = replay(program, "--seed", str(seed), "--strategy", "random-walk")
        assert result.exit_code == 0, "a bug of OLD that NEW fixes is no regression"
        if "fixed       stale-writable-mmuw, in OLD alone" in result.stdout:
            break
    else:
        pytest.fail("40 random walks do not show it")
    assert "because of  tdp-fault-warn-flush-mmuw" in result.stdout
    assert "!! stale-writable-mmuw" in result.stdout
    assert ">>>" in result.stdout


def test_a_regression_is_exit_code_1(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(*run: Any) -> OneRun:
        once = run_once(*run)
        return once._replace(findings=(msgspec.structs.replace(FINDING, verdict=Verdict.REGRESSION),))

    monkeypatch.setattr("cli.single_run.run_once", worse)
    result = replay(program)
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-4].startswith("regression  fewer-checks")


def test_a_seed_draws_program_and_interleaving_of_a_search() -> None:
    runner = SeedRunner(OLD, NEW, PROFILES["aging"], strategies=("burst",))
    for seed in (7, 8):
        told = document("--seed", str(seed), "--profile", "aging", "--strategy", "burst")
        trial = runner.run(seed)
        assert told["program"] == plain(trial.program)
        assert len(told["rows"]) == len(trace_steps(trial.outcome)) + 1
        assert [one["what"] for one in told["findings"]] == [trial.judged(seen).what for seen in seen_in(trial.outcome)]


def test_the_default_profile_is_that_of_a_search() -> None:
    told = document("--seed", "4")
    assert (told["file"], told["profile"]) == (None, "mixed")
    assert told["program"] == plain(SeedRunner(OLD, NEW, PROFILES["mixed"]).program_of(4))


def test_semantics_are_those_that_were_asked_for(program: Path) -> None:
    told = document(program, "--old", "new", "--new", "new")
    assert (told["old"], told["new"], told["findings"]) == ("new", "new", [])


def test_the_document_has_standard_output_and_the_story_standard_error(program: Path) -> None:
    result = replay(program, "--json", "-")
    assert json.loads(result.stdout)["program"] == plain(RACE)
    assert "vCPU0" in result.stderr
