# SPDX-License-Identifier: GPL-2.0-only
"""`prove`, `expose` and `headline` as a user calls them."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from cli.commands import prove as prove_module
from cli.commands.expose import expose
from cli.commands.headline import headline
from cli.commands.prove import prove
from fuzzer.prove.mutants import Mutant, Noticed
from fuzzer.prove.prove import Proof
from fuzzer.reproducer import decode_reproducer
from reference_mmu.changelog.patches import PATCHES, changes_nothing
from tests.cli.shell import mmufuzz, report_in


def call(command: click.Command, *words: str) -> Result:
    return CliRunner().invoke(command, list(words))


def document(result: Result) -> Any:
    return json.loads(result.stdout)


# Accept.


def test_prove_says_what_it_compared() -> None:
    result = call(prove, "drop-max-level-param", "--json", "-")
    assert result.exit_code == 0
    (proof,) = document(result)["results"]
    assert proof["patch"] == "drop-max-level-param"
    assert proof["proven"] is True
    assert proof["cases"] > 10_000
    assert "every gfn" in proof["domain"]
    assert "drop-max-level-param" in result.stderr


def test_prove_all_is_every_equivalence_and_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove_module, "prove_patch", lambda patch, **pairs: Proof(patch, True, 1, "all"))
    equivalences = [patch.id for patch in PATCHES.values() if changes_nothing(patch) and patch.modelled]
    assert [row["patch"] for row in document(call(prove, "--all", "--json", "-"))["results"]] == equivalences


@pytest.mark.slow
def test_a_proof_notices_mutants_of_its_patch(tmp_path: Path) -> None:
    run = mmufuzz("prove dedicated-ad-enabled-flag series-kvm-no-struct-page --mutate --json report.json", tmp_path)
    assert run.returncode == 0, run.stderr
    first, second = report_in(tmp_path)["results"]
    assert (first["mutants"], first["by_input"], first["survivors"]) == (1, 1, [])
    assert second["mutants"] == 0
    assert "not noticed" in run.stdout


def test_expose_leaves_a_reproducer(tmp_path: Path) -> None:
    result = call(expose, "age-elides-tlb-flush", "flush-iff-mmuw-cleared", "--out", str(tmp_path), "--json", "-")
    assert result.exit_code == 0
    system, function = document(result)["results"]
    assert system["exposed"]
    assert system["level"] == "system"
    assert system["effects"]
    reproducer = decode_reproducer(Path(system["reproducer"]).read_bytes())
    assert reproducer.finding.patches == ("age-elides-tlb-flush",)
    assert function["level"] == "function"
    assert function["reproducer"] is None
    assert function["reason"] in result.stderr.replace("\n", " ")
    assert [path.name for path in tmp_path.iterdir()] == ["expose-age-elides-tlb-flush.json"]


def test_headline_prints_both_counts() -> None:
    result = call(headline, "--scale", "64", "--resched-every", "7", "--json", "-")
    assert result.exit_code == 0
    report = document(result)
    assert (report["old"]["flushes"], report["new"]["flushes"], report["new"]["yields"]) == (64, 10, 9)
    assert (report["old"]["published_flushes"], report["new"]["published_flushes"]) == (131072, 76)
    assert report["published_time_ratio"] == pytest.approx(2.989)
    assert "131 072" in result.stderr


# Odd, but legal.


def test_a_patch_named_twice_is_done_once() -> None:
    result = call(prove, "drop-max-level-param", "drop-max-level-param", "--json", "-")
    assert len(document(result)["results"]) == 1


def test_costs_of_nothing_are_a_ratio_of_nothing() -> None:
    words = ("--scale", "2", "--flush-us", "0", "--table-us", "0", "--json", "-")
    assert document(call(headline, *words))["time_ratio"] == 0


# Reject.


def test_a_counterexample_is_shown_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Proof("drop-max-level-param", False, 3, "three gfns", "gfn 2: level 1 in old, 2 in new")
    monkeypatch.setattr(prove_module, "prove_patch", lambda patch, **pairs: found)
    result = call(prove, "drop-max-level-param", "--json", "-")
    assert result.exit_code == 1
    assert document(result)["results"][0]["counterexample"] == found.counterexample
    assert str(found.counterexample) in result.stderr


def test_what_is_equivalent_with_another_patch_alone_exits_with_3(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    half = Proof("drop-max-level-param", False, 3, "three gfns", "gfn 2", ("dedup-leaf-flush-rule",), "half", b"{}")
    monkeypatch.setattr(prove_module, "prove_patch", lambda patch, **pairs: half)
    result = call(prove, "drop-max-level-param", "--json", "-", "--out", str(tmp_path))
    assert result.exit_code == 3
    (proof,) = document(result)["results"]
    assert Path(proof["reproducer"]).read_bytes() == b"{}"
    assert "not equivalent alone: half" in result.stderr
    assert "mmufuzz replay" in result.stderr


def test_ctrl_c_keeps_the_results_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(patch: str, **pairs: object) -> Proof:
        if patch == "dedup-leaf-flush-rule":
            raise KeyboardInterrupt
        return Proof(patch, True, 1, "all")

    monkeypatch.setattr(prove_module, "prove_patch", interrupted)
    result = call(prove, "drop-max-level-param", "dedup-leaf-flush-rule", "--json", "-")
    assert result.exit_code == 130
    assert [proof["patch"] for proof in document(result)["results"]] == ["drop-max-level-param"]


@pytest.mark.parametrize(("reason", "code"), [("nobody can see it", 0), ("", 1)])
def test_a_mutant_that_lives_is_a_hole_unless_a_reason_is_known(
    monkeypatch: pytest.MonkeyPatch, reason: str, code: int
) -> None:
    mutant = Mutant("drop-max-level-param", "x86/hugepage.py:f:1", 33, "`gfn` is 0")
    monkeypatch.setattr(prove_module, "require_interpreted", lambda: None)
    monkeypatch.setattr(prove_module, "breakers", lambda jobs: nullcontext())
    monkeypatch.setattr(prove_module, "tried", lambda pool, patch: iter([(mutant, Noticed("nothing"))]))
    monkeypatch.setattr(prove_module, "reason_of", lambda mutant: reason)
    result = call(prove, "drop-max-level-param", "--mutate", "--json", "-")
    assert result.exit_code == code
    (tried,) = document(result)["results"]
    (survivor,) = tried["survivors"]
    assert (survivor["place"], survivor["reason"]) == ("x86/hugepage.py:33", reason)
    assert "x86/hugepage.py:33: `gfn` is 0" in result.stderr


@pytest.mark.parametrize(
    ("command", "words", "complaint"),
    [
        (prove, (), "name patches or give --all"),
        (prove, ("--all", "drop-max-level-param"), "name patches or give --all"),
        (prove, ("drop-max-level",), "did you mean drop-max-level-param"),
        (prove, ("age-elides-tlb-flush",), "'mmufuzz expose age-elides-tlb-flush'"),
        (expose, ("age-elides",), "did you mean age-elides-tlb-flush"),
        (expose, ("drop-max-level-param",), "'mmufuzz prove drop-max-level-param'"),
        (expose, ("age-elides-tlb-flush", "--out", "/dev/null/x"), "--out /dev/null/x cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_2(command: click.Command, words: tuple[str, ...], complaint: str) -> None:
    result = call(command, *words)
    assert result.exit_code == 2
    assert result.stderr.startswith("mmufuzz: ")
    assert result.stderr.count("\n") == 1
    assert complaint in result.stderr
    assert result.stdout == ""
