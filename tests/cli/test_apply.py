# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz run --apply`: what a maintainer's three lines break, told, kept, and replayed by whoever gets the file."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fuzzer.change.merged_copy import merged_copy
from fuzzer.reproducer import decode_reproducer
from tests.changes import ALWAYS_FLUSH, FLUSH_AGAIN, HANGS, NO_FLUSH, NO_PATH, SAVES, TWO_PARTS
from tests.cli.shell import ROOT, Searched, changed_sources, mmufuzz, report_in, store_in

WORDS = "run --apply my.patch --profile tdp --programs 4 --seed 1 --jobs 1 --json report.json"


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    """The notifier without its flush."""
    folder = tmp_path_factory.mktemp("applied")
    (folder / "my.patch").write_text(NO_FLUSH, encoding="utf-8")
    return Searched(folder, mmufuzz(WORDS, folder=folder))


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that has the change in its sources."""
    owed = "        if flush:\n            yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)\n"
    return changed_sources(tmp_path_factory.mktemp("edited"), "reference_mmu/kvm/mmu_notifier.py", owed, "")


def regression(applied: Searched) -> Any:
    return next(found for found in applied.report["findings"] if found["what"] == "stale-translation")


def test_a_missing_flush_is_a_regression_of_the_own_change(applied: Searched) -> None:
    report = applied.report
    assert applied.process.returncode == 1, applied.process.stderr
    assert applied.process.stderr == ""
    assert (report["old"], report["new"], report["core"]) == ("new", "new", "interpreted")
    assert report["verdicts"]["regression"] > 0
    assert report["verdicts"]["baseline"] == report["verdicts"]["documented"] == 0
    assert {tuple(found["patches"]) for found in report["findings"]} == {("own-change",)}
    found = regression(applied)
    assert (found["verdict"], found["side"]) == ("regression", "new")
    assert found["operations"] <= 3


def test_findings_are_grouped_by_the_part_of_the_change_that_they_come_from(tmp_path: Path) -> None:
    """Two parts: a flush less for invalidations, and more of them when pages are aged."""
    (tmp_path / "my.patch").write_text(TWO_PARTS, encoding="utf-8")
    run = mmufuzz(WORDS.replace("--programs 4", "--programs 9"), folder=tmp_path)
    assert run.returncode == 1
    found = report_in(tmp_path)["findings"]
    ((lost,),) = {tuple(one["parts"]) for one in found if one["verdict"] == "regression"}
    ((added,),) = {tuple(one["parts"]) for one in found if one["what"] == "more-flushes"}
    assert lost != added
    assert run.stdout.count(f"own-change at {lost}: regression") == 1
    assert f"own-change at {added}: unexplained (more-flushes" in run.stdout


def test_what_the_author_allows_is_documented(tmp_path: Path) -> None:
    told, allowed = tmp_path / "told", tmp_path / "allowed"
    for folder in (told, allowed):
        folder.mkdir()
        (folder / "my.patch").write_text(ALWAYS_FLUSH, encoding="utf-8")
    run = mmufuzz(WORDS, folder=told)
    assert run.returncode == 1
    assert "  --allow more-flushes\n" in run.stdout
    assert {found["what"] for found in report_in(told)["findings"]} == {"more-flushes"}
    assert report_in(told)["verdicts"]["unexplained"] > 0
    assert mmufuzz(f"{WORDS} --allow cost", folder=allowed).returncode == 0
    assert report_in(allowed)["verdicts"]["documented"] > 0


def test_a_change_that_merely_saves_work_fails_no_run(tmp_path: Path) -> None:
    """Four programs do not tell whether it breaks something."""
    (tmp_path / "my.patch").write_text(SAVES, encoding="utf-8")
    assert mmufuzz(WORDS, folder=tmp_path).returncode == 1
    run = mmufuzz(WORDS.replace("--programs 4", "--programs 500"), folder=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert {found["what"] for found in report_in(tmp_path)["findings"]} == {"fewer-checks"}
    assert "nothing breaks, and less is done: an optimisation" in run.stdout
    assert "  --allow fewer-checks\n" in run.stdout


def test_a_fix_on_top_of_the_patch_that_it_mends_is_a_fix(tmp_path: Path) -> None:
    """The patch before it in its series takes the flush away, and this one brings it back."""
    (tmp_path / "1.patch").write_text(NO_FLUSH, encoding="utf-8")
    (tmp_path / "2.patch").write_text(FLUSH_AGAIN, encoding="utf-8")
    run = mmufuzz(f"{WORDS.replace('my.patch', '2.patch')} --base 1.patch --allow cost --allow timing", folder=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "own change 2.patch" in run.stdout
    assert "on top of 1.patch, which both models have" in run.stdout.replace("\n", " ")
    assert report_in(tmp_path)["verdicts"]["fixed-silently"] > 0
    assert "\na fix: OLD shows " in run.stdout


def test_what_of_a_change_was_run_is_told(applied: Searched) -> None:
    assert applied.report["exercise"] == {"exercised": ["reference_mmu/kvm/mmu_notifier.py:47"], "not_exercised": []}
    assert "all statements of the change were run" in applied.process.stdout


def test_a_change_that_no_program_came_by_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    (tmp_path / "my.patch").write_text(NO_PATH, encoding="utf-8")
    run = mmufuzz(WORDS, folder=tmp_path)
    assert (run.returncode, run.stderr) == (4, "")
    exercise = report_in(tmp_path)["exercise"]
    assert exercise["exercised"] == []
    lines = ", ".join(exercise["not_exercised"])
    assert lines.startswith("reference_mmu/arm64/fault.py:")
    assert f"not exercised: no program came by the change, at {lines}; try another --profile" in run.stdout.replace(
        "\n", " "
    )
    assert "no difference" in run.stdout


def test_the_output_tells_finding_story_and_replay(applied: Searched) -> None:
    out = applied.process.stdout
    lines = out.splitlines()
    assert f"own change my.patch ({applied.report['change']}), NEW is the model with it" in lines
    assert "core interpreted: asked for by MMUFUZZ_CORE" in lines
    assert "change      -            yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)" in lines
    assert sum(line.startswith(">>>") for line in lines) == 1
    assert lines[-1].startswith("replay the first with:  mmufuzz replay findings/violation-")


def test_the_findings_are_stored_like_others(applied: Searched) -> None:
    store = store_in(applied.folder)
    assert {row.signature for row in store.findings()} == {found["signature"] for found in applied.report["findings"]}
    assert store.campaigns()[0].name == "run --seed 1 --apply my.patch"
    found = regression(applied)
    assert store.reproducer(found["signature"]) == (applied.folder / found["reproducer"]).read_bytes()


def test_the_file_is_all_that_replay_and_minimize_need(applied: Searched, tmp_path: Path) -> None:
    (tmp_path / "got.json").write_bytes((applied.folder / regression(applied)["reproducer"]).read_bytes())
    replay = mmufuzz("replay got.json --run-change", folder=tmp_path)
    assert replay.returncode == 0, replay.stderr
    assert "compared    OLD = new, NEW = new with own-change" in replay.stdout
    assert "reproduced exactly: regression" in replay.stdout
    minimize = mmufuzz("minimize got.json --run-change", folder=tmp_path)
    assert minimize.returncode == 0, minimize.stderr
    assert decode_reproducer((tmp_path / "got.min.json").read_bytes()).diff == NO_FLUSH


def test_a_change_from_elsewhere_does_not_run_unasked(applied: Searched, tmp_path: Path) -> None:
    data = (applied.folder / regression(applied)["reproducer"]).read_bytes()
    planted = msgspec.json.decode(data)
    planted["diff"] = planted["diff"].replace("@@\n", "@@\n+open('trace', 'w')\n", 1)
    (tmp_path / "got.json").write_bytes(msgspec.json.encode(planted))
    for command in ("replay", "minimize"):
        refused = mmufuzz(f"{command} got.json", folder=tmp_path)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.endswith('brings a change of the model; read its "diff" and add --run-change to run it\n')
    assert {path.name for path in tmp_path.iterdir()} == {"got.json"}


def test_a_checkout_that_has_the_change_tells_the_same(applied: Searched, edited: Path, tmp_path: Path) -> None:
    (tmp_path / "my.patch").write_text(NO_FLUSH, encoding="utf-8")
    run = mmufuzz(WORDS, folder=tmp_path, sources=edited)
    assert run.returncode == 1, run.stderr
    assert "which the sources have already: OLD is without it" in run.stdout
    report = report_in(tmp_path)
    assert report["findings"] == applied.report["findings"]
    for found in report["findings"]:
        here, there = (
            decode_reproducer((folder / found["reproducer"]).read_bytes()) for folder in (tmp_path, applied.folder)
        )
        assert here.digest == there.digest
    found = applied.folder / regression(applied)["reproducer"]
    replay = mmufuzz(f"replay {found} --run-change", folder=tmp_path, sources=edited)
    assert replay.returncode == 0
    assert "reproduced exactly: regression" in replay.stdout


def test_semantics_may_be_chosen(applied: Searched) -> None:
    words = "run --apply my.patch --programs 1 --jobs 1 --out other --db sqlite:///other.db"
    same = mmufuzz(f"{words} --new old+age-elides-tlb-flush", folder=applied.folder)
    assert same.stdout.startswith("old+age-elides-tlb-flush against old+age-elides-tlb-flush, ")
    both = mmufuzz(f"{words} --old old --new new", folder=applied.folder)
    assert both.stdout.startswith("old against new, ")


@pytest.mark.slow
@pytest.mark.compiler
def test_the_compiled_change_shows_the_same_to_the_byte(applied: Searched, tmp_path: Path) -> None:
    compile_change(NO_FLUSH)
    (tmp_path / "my.patch").write_text(NO_FLUSH, encoding="utf-8")
    run = mmufuzz(WORDS, folder=tmp_path, core="auto")
    assert run.returncode == 1, run.stderr
    assert "core compiled: core " in run.stdout
    report = report_in(tmp_path)
    assert report["core"] == "compiled"
    assert report["findings"] == applied.report["findings"]
    for name in (found["reproducer"] for found in report["findings"]):
        assert (tmp_path / name).read_bytes() == (applied.folder / name).read_bytes()


@pytest.mark.slow
@pytest.mark.compiler
def test_a_compiled_change_that_hangs_is_told_by_seed_and_line(tmp_path: Path) -> None:
    compile_change(HANGS)
    (tmp_path / "my.patch").write_text(HANGS, encoding="utf-8")
    run = mmufuzz("run --apply my.patch --seed 1 --profile tdp --jobs 1", folder=tmp_path, core="auto")
    assert run.returncode == 1
    assert "core compiled: core " in run.stdout
    assert run.stderr.startswith("mmufuzz: the model hangs in the program of seed ")
    assert "more than 5 s at kvm/mmu_notifier.py:" in run.stderr
    assert run.stderr.count("\n") == 1


def compile_change(diff: str) -> None:
    """As a search does beside it that lasts long enough."""
    with merged_copy(diff) as packages:
        command = [sys.executable, "-P", "-m", "fuzzer.compiled"]
        environment = os.environ | {"PYTHONPATH": f"{packages}{os.pathsep}{ROOT}"}
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)


def test_a_change_that_hangs_ends_the_search_and_is_told_by_seed_and_line(tmp_path: Path) -> None:
    quick = changed_sources(
        tmp_path / "sources", "cli/watchdog.py", "TICK_SECONDS: Final = 1.0", "TICK_SECONDS: Final = 0.2"
    )
    (tmp_path / "my.patch").write_text(HANGS, encoding="utf-8")
    run = mmufuzz("run --apply my.patch --seed 1 --profile tdp --jobs 1", folder=tmp_path, sources=quick)
    assert run.returncode == 1
    assert run.stderr.startswith("mmufuzz: the model hangs in the program of seed ")
    assert "more than 1 s at kvm/mmu_notifier.py:" in run.stderr
    assert "kvm_mmu_notifier_invalidate_range_start" in run.stderr
    assert run.stderr.count("\n") == 1
    assert "no difference" not in run.stdout
