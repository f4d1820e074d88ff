# SPDX-License-Identifier: GPL-2.0-only
"""What the smallest story says of a finding, which the whole program did not."""

from fuzzer.found import minimized
from fuzzer.judge.finding import Verdict
from fuzzer.judge.verdict import Trial
from fuzzer.program.ops import AnyOperation, ClearFlushYoung, NumaHint, PatchDcbz, Read, Write
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import decode_reproducer
from fuzzer.run.compare import Comparison
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import OLD as FIRST
from reference_mmu.config import Config, SlotConfig
from tests.findings import violation
from tests.trials import tried_by


def test_a_hole_that_the_whole_program_hid_on_one_side_is_baseline() -> None:
    """The flush of an aging saves OLD. Whoever took that for a regression finds, once the aging is gone, that it is
    none."""
    aged = ClearFlushYoung(2, 0, 8)
    mm = Actor("mm", (aged, NumaHint(3, 0, 8, resched=0b10)))
    config = Config(vcpus=1, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    program = Program(config, (Actor("vcpu", (Write(0, 1), Write(1, 5))), mm)).check()
    trial = tried_by(Comparison(OLD, NEW, "old"), program)
    finding = violation("stale-translation", side="new", verdict=Verdict.REGRESSION)
    found = minimized(trial, finding, 400, 0)
    assert found.reproducer is not None
    assert (found.finding.verdict, found.finding.side, found.finding.patches) == (Verdict.BASELINE, "both", ())


def leaks(*ops: AnyOperation) -> Trial:
    """A vCPU of PR mode: dcbz leaks in OLD, an access without a segment in both."""
    program = Program(Config(arch="powerpc", flavour="book3s_pr", vcpus=1), (Actor("vcpu", ops),)).check()
    return tried_by(Comparison(FIRST, NEW, "old"), program)


def test_a_story_of_both_is_none_of_one_alone() -> None:
    trial = leaks(PatchDcbz(0, 1), Read(1, 2, no_segment=True))
    found = minimized(trial, trial.violation("refcount-leak"), 400, 0)
    assert found.finding.verdict == Verdict.BASELINE
    assert found.reproducer is not None
    assert decode_reproducer(found.reproducer).program.uids() == {1}


def test_what_was_taken_for_baseline_may_be_of_old_alone() -> None:
    """As where NEW leaks next door, by another cause."""
    baseline = leaks(Read(1, 2, no_segment=True)).violation("refcount-leak")
    found = minimized(leaks(PatchDcbz(0, 1)), baseline, 400, 0)
    assert (found.finding.verdict, found.finding.patches) == (Verdict.FIXED, ("ppc-dcbz-drop-extra-get-page",))
