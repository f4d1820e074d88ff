# SPDX-License-Identifier: GPL-2.0-only
"""Shrinking a reproducer again: never larger, always replayable, and a lost finding is not written."""

import json
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from cli.main import cli
from fuzzer.minimize.minimize import Scenario
from fuzzer.program import ops
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer, make_reproducer
from fuzzer.run.compare import by_switches
from tests.cli.shell import Searched


def minimize(file: Path, *words: str) -> tuple[int, Any]:
    result = CliRunner().invoke(cli, ["minimize", str(file), *words, "--json", "-"])
    return result.exit_code, json.loads(result.stdout)


def small(searched: Searched) -> Reproducer:
    return decode_reproducer(searched.file_of("fewer-flushes", "age-elides-tlb-flush").read_bytes())


def padded(reproducer: Reproducer) -> Reproducer:
    """The same finding in a program that first does three things which do not matter."""
    program, switches = reproducer.program, reproducer.scenario().switches
    first = program.actors[0]
    unused = max(op.uid for actor in program.actors for op in actor.ops) + 1
    gfn = program.config.slots[0].base
    more = tuple(ops.Read(uid, gfn) for uid in range(unused, unused + 3))
    longer = Program(program.config, (Actor(first.kind, (*first.ops, *more)), *program.actors[1:])).check()
    comparison = reproducer.comparison()
    outcome = comparison.run(longer, by_switches(switches))
    return make_reproducer(comparison, Scenario(longer, switches), outcome, reproducer.finding, False)


def test_what_does_not_matter_goes(searched: Searched, tmp_path: Path) -> None:
    before = small(searched)
    file = tmp_path / "padded.json"
    file.write_bytes(encode_reproducer(padded(before)))
    code, report = minimize(file)
    written = tmp_path / "padded.min.json"
    after = decode_reproducer(written.read_bytes())
    assert (code, report["written"], report["smaller"], report["complete"]) == (0, str(written), True, True)
    assert report["operations_before"] == before.program.operations() + 3
    assert report["operations"] == after.program.operations() <= before.program.operations()
    assert after.signature == before.signature
    passes = {one["name"]: one for one in report["passes"]}
    assert [*passes][:2] == ["operations under turns", "operations"]
    assert 0 < sum(one["calls"] for one in passes.values()) < report["executions"]
    assert passes["operations under turns"]["shrinks"] >= 3
    assert CliRunner().invoke(cli, ["replay", str(written)]).exit_code == 0


def test_what_is_small_stays(searched: Searched, tmp_path: Path) -> None:
    before = small(searched)
    file = tmp_path / "small.json"
    file.write_bytes(encode_reproducer(before))
    code, report = minimize(file, "--out", str(tmp_path / "out.json"))
    assert (code, report["smaller"]) == (0, False)
    assert decode_reproducer((tmp_path / "out.json").read_bytes()).scenario().size() == before.scenario().size()


def test_a_budget_that_is_too_small_is_said(searched: Searched, tmp_path: Path) -> None:
    file = tmp_path / "padded.json"
    file.write_bytes(encode_reproducer(padded(small(searched))))
    result = CliRunner().invoke(cli, ["minimize", str(file), "--budget", "2"])
    assert result.exit_code == 0
    assert "not 1-minimal yet: give it more than --budget 2" in result.stdout
    assert CliRunner().invoke(cli, ["replay", str(tmp_path / "padded.min.json")]).exit_code == 0


def test_a_lost_finding_is_not_written(searched: Searched, tmp_path: Path) -> None:
    reproducer = small(searched)
    program = msgspec.structs.replace(reproducer.program, actors=())
    file = tmp_path / "lost.json"
    file.write_bytes(encode_reproducer(msgspec.structs.replace(reproducer, program=program, switches=())))
    code, report = minimize(file)
    assert (code, report["written"]) == (1, None)
    assert [path.name for path in tmp_path.iterdir()] == ["lost.json"]
