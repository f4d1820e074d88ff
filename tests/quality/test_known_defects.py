# SPDX-License-Identifier: GPL-2.0-only
"""A planted defect that breaks the invariant of a known hole, in the same room, stays a plain regression."""

import pytest

from fuzzer.found import bare
from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Verdict
from fuzzer.judge.seen import Breach, seen_in
from fuzzer.known_holes import HOLES, hole_of_file
from fuzzer.program.profile import PROFILES
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW
from tests.quality.defects import defects


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "what"),
    [("riscv-stale-check-before-the-lock", "mapped-during-invalidation")],
)
def test_a_planted_defect_is_not_taken_for_a_hole(name: str, what: str) -> None:
    assert any(what in sign.what for hole in HOLES.values() for sign in hole.signs if hole.arch == "riscv")
    (defect,) = (defect for defect in defects() if defect.name == name)
    trial = SeedRunner(NEW, NEW, PROFILES[defect.profile], defect.models()).run(defect.seed)
    shown = [one for one in seen_in(trial.outcome) if isinstance(one, Breach) and one.sides == "new"]
    assert what in {one.invariant for one in shown}
    for breach in shown:
        finding = trial.judged(breach)
        assert (finding.verdict, finding.patches) == (Verdict.REGRESSION, (OWN_CHANGE,))
        body = bare(trial, finding, defect.seed).reproducer
        assert body is not None
        assert hole_of_file(body, smallest=False) == ""
