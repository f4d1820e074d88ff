# SPDX-License-Identifier: GPL-2.0-only
"""Which part of a change does it: one alone, or several that need each other."""

from fuzzer.change.variant import changed_models
from fuzzer.culprits import Culprits
from fuzzer.judge.verdict import Trial
from fuzzer.minimize.minimize import Scenario
from fuzzer.program.ops import NumaHint, Write
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import Reproducer, make_reproducer
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NEW
from reference_mmu.config import Config
from tests.changes import as_diff, shipped_source

NOTIFIER = "kvm/mmu_notifier.py"
OWED = "        if flush:\n            yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)\n"
YOUNG = "        if young and flush_on_ret:\n"
AT_FIRST = (
    "        flush = False\n"
    "        for gfn_range in ranges:\n"
    "            kvm.use_memslot(gfn_range.slot)\n"
    "            kvm_mmu"
)
"""That of invalidate_range_start()."""


def diff(*changes: tuple[str, str]) -> str:
    text = shipped_source(NOTIFIER)
    for before, after in changes:
        assert text.count(before) == 1
        text = text.replace(before, after)
    return as_diff({NOTIFIER: text})


def stale(change: str) -> Reproducer:
    """A page is taken away while a vCPU has it in its TLB."""
    program = Program(Config(vcpus=1), (Actor("vcpu", (Write(0, 1),)), Actor("mm", (NumaHint(1, 0, 8),)))).check()
    comparison = Comparison(NEW, NEW, "new", changed_models(change))
    outcome = comparison.run(program, by_switches(()))
    finding = Trial(comparison, by_switches(()), outcome).violation("stale-translation")
    return make_reproducer(comparison, Scenario(program, ()), outcome, finding, True)


def line_of(text: str) -> int:
    return shipped_source(NOTIFIER).partition(text)[0].count("\n") + 1


def test_the_one_part_that_does_it_alone_is_named() -> None:
    change = diff((OWED, ""), (YOUNG, YOUNG.replace("and", "or")))
    culprits = Culprits(change)
    assert len(culprits.hunks) == 2
    assert [str(hunk) for hunk in culprits.of(stale(change))] == [f"reference_mmu/{NOTIFIER}:{line_of(OWED)}"]


def test_parts_that_need_each_other_are_named_together() -> None:
    """What skips the flush asks for a name that another part gives."""
    change = diff(
        (AT_FIRST, AT_FIRST.replace("flush = False", "flush, skipped = False, True")),
        (OWED, OWED.replace("if flush:", "if flush and not skipped:")),
        (YOUNG, YOUNG.replace("and", "or")),
    )
    culprits = Culprits(change)
    found = culprits.of(stale(change))
    assert len(culprits.hunks) > len(found) == 2
    assert all(hunk.line < line_of(YOUNG) for hunk in found)


def test_a_change_of_one_part_has_no_other_cause() -> None:
    change = diff((OWED, ""))
    assert Culprits(change).of(stale(change)) == ()
