# SPDX-License-Identifier: GPL-2.0-only
"""A stored reproducer tells its story in any process, and says so when it no longer shows it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from cli.main import cli
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer
from tests.cli.shell import Searched, environment, mmufuzz


def replay(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["replay", *map(str, words)])


def flushes(searched: Searched) -> Path:
    return searched.file_of("fewer-flushes", "age-elides-tlb-flush")


def changed(searched: Searched, tmp_path: Path, **fields: Any) -> Path:
    """The reproducer of `flushes` with other values of some fields."""
    reproducer = decode_reproducer(flushes(searched).read_bytes())
    file = tmp_path / "changed.json"
    file.write_bytes(encode_reproducer(msgspec.structs.replace(reproducer, **fields)))
    return file


def test_every_stored_reproducer_replays_in_a_fresh_process(searched: Searched) -> None:
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from cli.main import cli\n"
        "for file in sys.argv[1:]:\n"
        "    print(file, CliRunner().invoke(cli, ['replay', file]).exit_code)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, *map(str, searched.files)], env=environment(), capture_output=True, text=True
    )
    assert run.stdout.splitlines() == [f"{file} 0" for file in searched.files], run.stderr


def test_replay_as_it_is_typed(searched: Searched) -> None:
    run = mmufuzz(f"replay {flushes(searched)}", folder=searched.folder)
    assert run.returncode == 0
    lines = run.stdout.splitlines()
    assert lines[0] == "documented  fewer-flushes"
    assert [line[:3] for line in lines].count(">>>") == 1
    assert any("remote TLB flush" in line for line in lines)
    assert any(line.startswith("reproduced exactly: documented") for line in lines)
    assert run.stderr == ""


@pytest.mark.parametrize("columns", [80, 100])
def test_columns_say_how_wide_it_is_in_a_pipe(searched: Searched, columns: int) -> None:
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(cli, ["replay", str(flushes(searched))])
    lines = result.stdout.splitlines()
    table = lines[lines.index("-" * columns) :]
    assert max(map(len, table[: table.index("")])) <= columns


def test_alone_leaves_only_the_difference_of_the_attributed_patch(searched: Searched) -> None:
    result = replay(flushes(searched), "--alone", "--json", "-")
    document = json.loads(result.stdout)
    row = document["rows"][document["first_difference"]]
    assert result.exit_code == 0
    assert row["operation"].startswith(("clear-flush-young", "reclaim"))
    assert "remote TLB flush" in row["old"]["seen"]
    assert "remote TLB flush" not in row["new"]["seen"]
    assert ">>>" in result.stderr, "with the document on standard output the story is on standard error"


def test_another_trace_is_not_a_reproduction(searched: Searched, tmp_path: Path) -> None:
    result = replay(changed(searched, tmp_path, digest="0" * 16))
    assert result.exit_code == 1
    assert "NOT reproduced: the finding shows, but by another trace" in result.stdout


def test_another_model_says_so_and_names_the_first_diverging_step(searched: Searched, tmp_path: Path) -> None:
    recorded: Reproducer = decode_reproducer(flushes(searched).read_bytes())
    steps = (*recorded.steps[:4], "0 0 elsewhere 1", *recorded.steps[5:])
    file = changed(searched, tmp_path, model="0" * 12, steps=steps, digest="0" * 16)
    result = replay(file, "--json", str(tmp_path / "report.json"))
    check = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["recheck"]
    assert result.exit_code == 1
    assert f"made with model {'0' * 12}, this is model {check['model_now']}" in result.stdout
    assert "first diverging step: 5, recorded as '0 0 elsewhere 1'" in result.stdout
    assert (check["diverging_step"], check["step_now"]) == (5, recorded.steps[4])


def test_another_model_with_the_same_trace_is_a_reproduction(searched: Searched, tmp_path: Path) -> None:
    """Of which nobody needs to hear, but for whoever reads the document."""
    result = replay(changed(searched, tmp_path, model="0" * 12), "--json", str(tmp_path / "report.json"))
    check = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["recheck"]
    assert result.exit_code == 0
    assert "made with model" not in result.stdout
    assert (check["model_recorded"], check["diverging_step"]) == ("0" * 12, 0)


def test_a_finding_that_is_gone(searched: Searched, tmp_path: Path) -> None:
    program = decode_reproducer(flushes(searched).read_bytes()).program
    result = replay(changed(searched, tmp_path, program=msgspec.structs.replace(program, actors=()), switches=()))
    assert result.exit_code == 1
    assert "NOT reproduced: the finding does not show" in result.stdout


def test_resampling_tells_where_the_finding_became_inevitable(searched: Searched) -> None:
    result = replay(flushes(searched), "--resample", "6", "--json", "-")
    told = json.loads(result.stdout)["chances"]
    assert result.exit_code == 0
    assert told["chances"][told["inevitable"]]["shown"] == 6
    assert len(told["chances"]) == told["steps"] + 1
    assert f"inevitable after step {told['inevitable']}, " in result.stderr
