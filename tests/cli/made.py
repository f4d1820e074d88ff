# SPDX-License-Identifier: GPL-2.0-only
"""A finding and reproducers made by hand, for tests that need any."""

from fuzzer.minimize.minimize import Scenario
from fuzzer.program.program import Program
from fuzzer.reproducer import encode_reproducer, make_reproducer
from fuzzer.run.compare import Comparison, by_switches
from reference_mmu.changelog.semantics import NEW, OLD
from tests.findings import divergence

FINDING = divergence(
    "fewer-checks", patches=("demote-iter-yielded-warn",), direction="sufficient", story="fewer checks"
)


def reproducer_file(program: Program) -> bytes:
    """Content of a reproducer of FINDING in that program, run without preemption."""
    comparison = Comparison(OLD, NEW, "old")
    outcome = comparison.run(program, by_switches(()))
    return encode_reproducer(make_reproducer(comparison, Scenario(program, ()), outcome, FINDING, True))
