# SPDX-License-Identifier: GPL-2.0-only
"""What the smallest story says of a finding, which the whole program did not."""

from fuzzer.found import minimized
from fuzzer.judge.finding import Finding, Verdict
from fuzzer.judge.verdict import Trial
from fuzzer.program.ops import ClearFlushYoung, NumaHint, Write
from fuzzer.program.program import Actor, Program
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config, SlotConfig


def test_a_hole_that_the_whole_program_hid_on_one_side_is_baseline() -> None:
    """The flush of an aging saves OLD. Whoever took that for a regression finds, once the aging is gone, that it is
    none."""
    aged = ClearFlushYoung(2, 0, 8)
    mm = Actor("mm", (aged, NumaHint(3, 0, 8, resched=0b10)))
    config = Config(vcpus=1, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    program = Program(config, (Actor("vcpu", (Write(0, 1), Write(1, 5))), mm)).check()
    comparison, drive = Comparison(OLD, NEW, "old"), by_switches(())
    trial = Trial(comparison, drive, comparison.run(program, drive))
    finding = Finding(
        kind="violation",
        what="stale-translation",
        effects=(),
        side="new",
        leader="old",
        patches=("age-elides-tlb-flush",),
        direction="sufficient",
        verdict=Verdict.REGRESSION,
        sites=("-", "-"),
        story="as it was taken for",
    )
    found = minimized(trial, finding, 400, 0)
    assert found.reproducer is not None
    assert (found.finding.verdict, found.finding.side, found.finding.patches) == (Verdict.BASELINE, "both", ())
