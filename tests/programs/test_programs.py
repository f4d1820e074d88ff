# SPDX-License-Identifier: GPL-2.0-only
"""Golden programs: each FILE.json is a minimized reproducer, FILE.md says what it is about, and FILE.txt is what
`mmufuzz replay` prints.

A change of what the model does in one of them changes its trace: `python -m tests.programs.renew` then takes the new
one, as long as the finding shows. Other changes of the sources do not touch them.
"""

from pathlib import Path

import msgspec
import pytest

from fuzzer.change.variant import changed_models
from fuzzer.judge.attribute import OWN_CHANGE, Attribution
from fuzzer.judge.finding import Verdict
from fuzzer.judge.shows import shows
from fuzzer.recheck import recheck
from fuzzer.reproducer import decode_reproducer, encode_reproducer, make_reproducer
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NEW
from tests.cli.shell import ROOT
from tests.golden import golden, judged_anew
from tests.programs import renew
from tests.programs.renew import Gone, main, printed, renewed
from tests.trials import tried_by

FOLDER = Path(__file__).parent
FILES = sorted(FOLDER.glob("*.json"))
EVERY_FILE = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)

EXPECTED = {
    "aging-goes-unseen": ("none-instead-of-fast", Verdict.DOCUMENTED, "age-elides-tlb-flush"),
    "always-dirty-spurious": ("spurious-instead-of-fixed", Verdict.DOCUMENTED, "always-dirty-if-writable"),
    "arm64-late-page-mark": ("late-page-mark", Verdict.FIXED, "arm64-accessed-dirty-before-unlock"),
    "bug-219588": ("stale-writable-mmuw", Verdict.FIXED, "tdp-fault-warn-flush-mmuw"),
    "collapsible-fewer-flushes": ("fewer-flushes", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "collapsible-frozen": ("retry-instead-of-frozen", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "collapsible-huge-before-flush": ("huge-before-flush", Verdict.DOCUMENTED, "batch-collapsible-zap-flush"),
    "consequence-retry": ("fixed-instead-of-none", Verdict.DOCUMENTED, "always-dirty-if-writable"),
    "consequence-khugepaged": ("spurious-instead-of-fixed", Verdict.DOCUMENTED, "x86-finish-page-fault-helper"),
    "consequence-later-in-the-same-write": (
        "more-gup-calls",
        Verdict.DOCUMENTED,
        "riscv-accessed-before-unlock",
    ),
    "consequence-lost-prefetch": ("mapping-differs", Verdict.DOCUMENTED, "always-dirty-if-writable"),
    "consequence-more-pml": ("more-pml-entries", Verdict.DOCUMENTED, "age-elides-tlb-flush"),
    "consequence-refused-map": ("mapping-differs", Verdict.DOCUMENTED, "disallow-unpinned-map-by-default"),
    "consequence-refused-tags": ("read-differs", Verdict.DOCUMENTED, "arm64-mte-copy-tags-via-gfn-to-page"),
    "e500-writable-null": ("warn", Verdict.REGRESSION, "e500-faultin-pfn"),
    "hole-apic-page-gone": ("stale-apic-page", Verdict.BASELINE, ""),
    "hole-clear-two-huge-pages": ("lost-dirty-page", Verdict.BASELINE, ""),
    "hole-fetch-below-old-child": ("shadow-page-differs", Verdict.BASELINE, ""),
    "hole-fetch-from-device": ("refcount-leak", Verdict.BASELINE, ""),
    "hole-huge-page-beside-zapped-range": ("older-than-zap", Verdict.BASELINE, ""),
    "hole-maps-beyond-slot": ("mapped-beyond-slot", Verdict.BASELINE, ""),
    "hole-map-across-slot-move": ("lost-dirty-page", Verdict.BASELINE, ""),
    "hole-pml-enable-then-split": ("writable-after-dirty-log", Verdict.BASELINE, ""),
    "hole-gmem-error-against-hole": ("no-progress", Verdict.BASELINE, ""),
    "hole-relax-a-block": ("lost-dirty-page", Verdict.BASELINE, ""),
    "hole-segment-not-mapped": ("refcount-leak", Verdict.BASELINE, ""),
    "hole-slot-flushed-late": ("mapped-freed-page", Verdict.BASELINE, ""),
    "hole-walk-passes-over": ("freed-page-access", Verdict.BASELINE, ""),
    "invalid-root-aging": ("young-false-negative", Verdict.DOCUMENTED, "age-valid-roots-only"),
    "pr-stale-fault-marks-dirty": ("dirty-after-clean", Verdict.REGRESSION, "ppc-pr-dirty-accessed-after-pte"),
    "riscv-stale-fault-marks-dirty": ("dirty-after-clean", Verdict.REGRESSION, "riscv-dirty-iff-pte-installed"),
    "sync-fewer-flushes": ("fewer-flushes", Verdict.DOCUMENTED, "shadow-no-flush-on-clear-dirty"),
}


def test_every_program_is_expected_and_has_a_story() -> None:
    assert {file.stem for file in FILES} == set(EXPECTED) == {file.stem for file in FOLDER.glob("*.md")}


@EVERY_FILE
def test_it_is_reproduced_exactly_and_tells_what_stands_beside_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By sources that are not those it was made with, too."""
    monkeypatch.setattr("fuzzer.recheck.model_version", lambda: "another")
    code, text = printed(file)
    assert code == 0, f"{text}\nif that is meant: python -m tests.programs.renew {file.stem}"
    assert text == file.with_suffix(".txt").read_text(encoding="utf-8"), "python -m tests.programs.renew"


class TestRenewing:
    def test_what_is_reproduced_stays(self) -> None:
        reproducer = decode_reproducer(FILES[0].read_bytes())
        assert renewed(reproducer) is reproducer

    def test_another_trace_is_taken_and_the_story_kept(self, tmp_path: Path) -> None:
        old = msgspec.structs.replace(golden("bug-219588"), digest="0" * 16, steps=("0 0 elsewhere 1",), model="old")
        new = renewed(old)
        assert recheck(new, new.run()).reproduced()
        assert (new.scenario(), new.finding, new.signature) == (old.scenario(), old.finding, old.signature)
        assert new == golden("bug-219588")

    def test_a_finding_that_is_gone_is_refused(self) -> None:
        healed = msgspec.structs.replace(golden("bug-219588"), switches=())
        with pytest.raises(Gone, match="does not show any more; first diverging step: 8"):
            renewed(healed)

    def test_files_and_texts_are_written_but_for_one_that_is_gone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(renew, "ROOT", tmp_path)
        monkeypatch.setattr(renew, "FOLDER", tmp_path)
        stale, gone = tmp_path / "stale.json", tmp_path / "gone.json"
        stale.write_bytes(encode_reproducer(msgspec.structs.replace(golden("bug-219588"), digest="0" * 16)))
        gone.write_bytes(encode_reproducer(msgspec.structs.replace(golden("bug-219588"), switches=())))
        before = gone.read_bytes()
        assert main([]) == 1
        out, err = capsys.readouterr()
        assert out == "stale: has a new trace\n"
        assert err.startswith("gone: NOT renewed: the finding does not show any more")
        assert decode_reproducer(stale.read_bytes()) == golden("bug-219588")
        assert printed(stale) == (0, (tmp_path / "stale.txt").read_text())
        assert gone.read_bytes() == before
        assert not (tmp_path / "gone.txt").exists()
        assert main(["stale"]) == 0
        assert capsys.readouterr().out == "stale: reproduced exactly\n"

    def test_a_file_that_is_not_there_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["nosuch"]) == 2
        assert capsys.readouterr().err == "there is no nosuch.json in tests/programs\n"


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
    for uid in story.program.uids():
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
    trial = tried_by(comparison, reproducer.program, *reproducer.scenario().switches)
    finding = trial.violation("shadow-page-differs")
    assert (finding.verdict, finding.side, finding.patches) == (Verdict.FIXED_SILENTLY, "old", (OWN_CHANGE,))
    assert trial.outcome.violations("new") == {}
