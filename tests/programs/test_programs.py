# SPDX-License-Identifier: GPL-2.0-only
"""Golden programs: each FILE.json is a minimized reproducer, FILE.txt its story; both are made once and kept.

The model moves on, so the digest in the file is not held against a replay; that a replay is exact is shown by a
reproducer made from it here and now.
"""

from pathlib import Path

import pytest

from fuzzer.change.variant import changed_models
from fuzzer.judge.attribute import OWN_CHANGE, Attribution
from fuzzer.judge.finding import Finding, Verdict
from fuzzer.judge.shows import shows
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import uids_of
from fuzzer.recheck import recheck
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer, make_reproducer
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NEW
from tests.cli.shell import ROOT

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.json"))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

EXPECTED = {
    "aging-goes-unseen": ("none-instead-of-fast", Verdict.DOCUMENTED, "age-elides-tlb-flush"),
    "always-dirty-spurious": ("spurious-instead-of-fixed", Verdict.DOCUMENTED, "always-dirty-if-writable"),
    "bug-219588": ("stale-writable-mmuw", Verdict.FIXED, "tdp-fault-warn-flush-mmuw"),
    "collapsible-fewer-flushes": ("fewer-flushes", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "collapsible-frozen": ("retry-instead-of-frozen", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "collapsible-huge-before-flush": ("huge-before-flush", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "consequence-more-pml": ("more-pml-entries", Verdict.DOCUMENTED, "age-elides-tlb-flush"),
    "hole-clear-two-huge-pages": ("lost-dirty-page", Verdict.BASELINE, ""),
    "hole-fetch-below-old-child": ("shadow-page-differs", Verdict.BASELINE, ""),
    "invalid-root-aging": ("young-false-negative", Verdict.DOCUMENTED, "age-valid-roots-only"),
    "sync-fewer-flushes": ("fewer-flushes", Verdict.DOCUMENTED, "shadow-no-flush-on-clear-dirty"),
}


def judged_anew(reproducer: Reproducer) -> Finding:
    """The finding as this version of the project judges it, neighbours and attribution included."""
    comparison = reproducer.comparison()
    drive = by_switches(reproducer.scenario().switches)
    outcome = comparison.run(reproducer.program, drive)
    trial = Trial(comparison, drive, outcome)
    if reproducer.finding.kind == "violation":
        return trial.violation(reproducer.finding.what)
    (divergence,) = [d for d in outcome.divergences if d.effect == reproducer.finding.what]
    return trial.divergence(divergence)


def test_every_program_is_expected_and_has_a_story() -> None:
    assert {file.stem for file in FILES} == set(EXPECTED) == {file.stem for file in FOLDER.glob("*.txt")}


@EVERY_FILE
def test_it_replays_and_is_judged_as_before(file: Path) -> None:
    reproducer = decode_reproducer(file.read_bytes())
    what, verdict, patch = EXPECTED[file.stem]
    assert shows(reproducer.finding, reproducer.run())
    finding = judged_anew(reproducer)
    assert (finding.what, finding.verdict, finding.patches) == (what, verdict, (patch,) if patch else ())
    assert finding.after == reproducer.finding.after
    assert Attribution(finding.patches, finding.direction) == Attribution(
        reproducer.finding.patches, reproducer.finding.direction
    )


@EVERY_FILE
def test_nothing_in_it_can_go(file: Path) -> None:
    reproducer = decode_reproducer(file.read_bytes())
    story = reproducer.scenario()
    for uid in uids_of(story.program):
        outcome = reproducer.comparison().run(story.program.without(uid), by_switches(story.switches))
        assert not shows(reproducer.finding, outcome), f"operation {uid}"
    for index in range(len(story.switches)):
        fewer = story.switches[:index] + story.switches[index + 1 :]
        outcome = reproducer.comparison().run(story.program, by_switches(fewer))
        assert not shows(reproducer.finding, outcome), f"switch {index}"


@EVERY_FILE
def test_a_reproducer_made_from_its_replay_is_exact(file: Path) -> None:
    reproducer = decode_reproducer(file.read_bytes())
    outcome = reproducer.run()
    again = make_reproducer(reproducer.comparison(), reproducer.scenario(), outcome, reproducer.finding, True)
    read_back = decode_reproducer(encode_reproducer(again))
    assert read_back == again
    assert recheck(read_back, read_back.run()).reproduced()


def test_what_mainline_did_later_closes_a_hole_that_was_found() -> None:
    """Both sides show it as shipped; with the change of docs/examples on NEW, OLD alone does."""
    reproducer = decode_reproducer((FOLDER / "hole-fetch-below-old-child.json").read_bytes())
    models = changed_models((ROOT / "docs" / "examples" / "unexpected-gfn.patch").read_text())
    comparison = Comparison(NEW, NEW, "old", models)
    drive = by_switches(reproducer.scenario().switches)
    trial = Trial(comparison, drive, comparison.run(reproducer.program, drive))
    finding = trial.violation("shadow-page-differs")
    assert (finding.verdict, finding.side, finding.patches) == (Verdict.FIXED_SILENTLY, "old", (OWN_CHANGE,))
    assert trial.outcome.violations("new") == {}
