# SPDX-License-Identifier: GPL-2.0-only
"""Verdicts: what is documented, fixed, baseline, a regression or unexplained."""

import pytest

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Verdict
from fuzzer.judge.seen import operation_tag
from fuzzer.judge.verdict import NEIGHBOURS, Trial, effect_verdict, in_plain_memory, neighbour_turns
from fuzzer.program import ops  # TestYoung by name would be collected as a test
from fuzzer.program.ops import ClearFlushYoung, NumaHint, Read, Write
from fuzzer.program.program import Actor, Program
from fuzzer.program.script import script_of
from fuzzer.run.compare import Comparison, Models, Side
from fuzzer.run.divergence import WHOLE_RUN
from fuzzer.schedule.schedule import Switch, Turn
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.changelog.semantics import NEW, Semantics, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import OLD as FIRST
from reference_mmu.config import Config, SlotConfig
from reference_mmu.points import INV_PRIMARY
from reference_mmu.powerpc.points import PR_PUT
from reference_mmu.x86.points import FAULT_PFN
from tests.golden import stored
from tests.trials import only_divergence, replayed, tried_by

AGED = Program(Config(vcpus=1), (Actor("vcpu", (Write(0, 1),)), Actor("mm", (ClearFlushYoung(1, 1, 1),)))).check()
BUG_219588 = Program(
    Config(), (Actor("vcpu", (Read(0, 1, upgrade_fails=True),)), Actor("vcpu", (Write(1, 1),)))
).check()
AGAINST_NEW = Comparison(OLD, NEW, "old")
RACE = (Switch(0, FAULT_PFN, 1, 1),)


def trial(
    program: Program, old: Semantics, new: Semantics, switches: tuple[Switch, ...] = (), leader: Side = "old"
) -> Trial:
    return tried_by(Comparison(old, new, leader), program, *switches)


# --- divergences -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leader", ["old", "new"])
def test_what_the_commit_announces_is_documented(leader: Side) -> None:
    finding = only_divergence(trial(AGED, OLD, NEW, leader=leader), "fewer-flushes")
    assert finding.verdict == Verdict.DOCUMENTED
    assert finding.patches == ("age-elides-tlb-flush",)
    assert finding.sites == ("-", "-")  # one finding, whichever operation shows it


def test_taking_a_commit_off_again_is_documented_by_nothing() -> None:
    """test_young looks at more roots."""
    vcpus = (Actor("vcpu", (Read(0, 1),)), Actor("vcpu", (ops.Nested(1), Read(2, 1))))
    program = Program(Config(nested=True), (*vcpus, Actor("mm", (ops.TestYoung(3, 1),)))).check()
    finding = only_divergence(trial(program, NEW, parse_semantics("new-test-age-early-out")), "more-visits")
    assert (finding.verdict, finding.patches) == (Verdict.UNEXPLAINED, ("test-age-early-out",))
    assert finding.sites == ("test-young", "-")


def test_a_placebo_may_show_what_it_declares() -> None:
    finding = only_divergence(trial(AGED, NEW, parse_semantics("new+placebo-flush")), "more-flushes")
    assert (finding.verdict, finding.patches) == (Verdict.DOCUMENTED, ("placebo-flush",))


def test_an_own_change_may_do_what_its_author_says_and_no_more() -> None:
    models = Models(allowed=frozenset({"fewer-flushes"}))
    with_patch = Comparison(OLD, NEW, "old", models)
    assert effect_verdict("fewer-flushes", (OWN_CHANGE,), with_patch) == Verdict.DOCUMENTED
    assert effect_verdict("more-flushes", (OWN_CHANGE,), with_patch) == Verdict.UNEXPLAINED
    assert effect_verdict("fewer-flushes", (), with_patch) == Verdict.UNEXPLAINED
    assert effect_verdict("fewer-flushes", (OWN_CHANGE,), AGAINST_NEW) == Verdict.UNEXPLAINED


def test_forbidden_beats_allowed_and_unattributed_is_unexplained() -> None:
    for patch in PATCHES.values():
        for effect in patch.allowed:
            assert effect_verdict(effect, (patch.id,), AGAINST_NEW) == Verdict.DOCUMENTED
            assert effect_verdict(effect, (), AGAINST_NEW) == Verdict.UNEXPLAINED
        for effect in patch.forbidden:
            assert effect_verdict(effect, (patch.id,), AGAINST_NEW) == Verdict.REGRESSION
            allowing = next((p.id for p in PATCHES.values() if effect in p.allowed), patch.id)
            assert effect_verdict(effect, (allowing, patch.id), AGAINST_NEW) == Verdict.REGRESSION


def test_a_warning_that_is_gone_is_something_repaired() -> None:
    by_change = Comparison(NEW, NEW, "old", Models(diff="a change"))
    assert effect_verdict("warning-gone", (OWN_CHANGE,), by_change) == Verdict.FIXED_SILENTLY
    assert effect_verdict("new-warning", (OWN_CHANGE,), by_change) == Verdict.UNEXPLAINED


def test_an_effect_is_of_those_who_make_it_without_bystanders() -> None:
    """Somebody stands at a point of OLD alone while the page that it has leaked is not merged: another patch seems to
    have a part in what becomes of that."""
    config = Config(arch="powerpc", flavour="book3s_pr")
    vcpu = Actor("vcpu", (ops.PatchDcbz(0, 0), Read(1, 0), Read(2, 3)))
    program = Program(config, (vcpu, Actor("mm", (ops.CollapseHuge(3, 0), NumaHint(4, 0, 1))))).check()
    tried = trial(program, FIRST, NEW, (Switch(1, PR_PUT, 1, 1),))
    (divergence,) = [d for d in tried.outcome.divergences if d.effect == "more-page-references"]
    assert len(tried.judged_effect(divergence).patches) == 2
    finding = tried.divergence(divergence)
    assert (finding.verdict, finding.patches) == (Verdict.DOCUMENTED, ("ppc-dcbz-drop-extra-get-page",))
    assert 1 not in tried.teller(finding).program.uids()


# --- violations ------------------------------------------------------------------------------------------------


def test_a_violation_that_the_commit_claims_to_fix_is_fixed() -> None:
    tried = trial(BUG_219588, OLD, NEW, RACE)
    finding = tried.violation("stale-writable-mmuw")
    assert finding.verdict == Verdict.FIXED
    assert (finding.side, finding.patches) == ("old", ("tdp-fault-warn-flush-mmuw",))


def test_the_same_violation_in_new_alone_is_a_regression() -> None:
    """The fix taken off again."""
    without = Semantics(NEW.patches - {"tdp-fault-warn-flush-mmuw", "dedup-leaf-flush-rule"})
    tried = trial(BUG_219588, NEW, without, RACE, leader="new")
    finding = tried.violation("stale-writable-mmuw")
    assert (finding.verdict, finding.side) == (Verdict.REGRESSION, "new")


def test_what_only_needs_memory_that_old_refuses_is_baseline() -> None:
    """The hole of a notifier's range over two slots, with memory that cannot be mapped before mixedmap-no-refcount."""
    slots = SlotConfig(2, 1, 0), SlotConfig(7, 11, 1)
    config = Config(vcpus=1, slots=slots, backing=("pfnmap-unrefcounted", "anon", "anon"))
    actors = (Actor("vcpu", (Read(0, 2),)), Actor("mm", (ops.Mprotect(1, 0, write=True, resched=0b10011110),)))
    tried = trial(Program(config, actors).check(), FIRST, NEW)
    assert "stale-translation" not in tried.outcome.violations("old")
    finding = tried.violation("stale-translation")
    assert (finding.verdict, finding.side, finding.patches) == (Verdict.BASELINE, "both", ())


def test_plain_memory_is_all_anonymous_or_all_that_is_not_mapped_by_pfn() -> None:
    """A walk of huge pages yields elsewhere than one of small ones."""
    slots = SlotConfig(4, 4, 0), SlotConfig(12, 4, 4)
    config = Config(vcpus=1, slots=slots, backing=("devdax", "pfnmap-unrefcounted"))
    program = Program(config, (Actor("vcpu", (Read(0, 4),)),)).check()
    assert [plain.config.backing for plain in in_plain_memory(program)] == [("anon", "anon"), ("devdax", "anon")]
    (plain,) = in_plain_memory(Program(Config(backing=("anon", "thp")), program.actors).check())
    assert plain.config.backing == ("anon", "anon")


def test_a_page_that_old_has_leaked_does_not_hide_a_hole_of_both() -> None:
    """PR mode, 32 bits: an entry without a record outlives its page, unless OLD has leaked a reference to that."""
    config = Config(arch="powerpc", flavour="book3s_pr_32", vcpus=1)
    vcpu = Actor("vcpu", (ops.PatchDcbz(0, 1), ops.PatchDcbz(1, 1), Read(2, 1, no_memory=True)))
    program = Program(config, (vcpu, Actor("mm", (ops.Reclaim(3, 1),)))).check()
    tried = trial(program, FIRST, NEW)
    assert "mapped-freed-page" not in tried.outcome.violations("old")
    finding = tried.violation("mapped-freed-page")
    assert (finding.verdict, finding.side, finding.patches) == (Verdict.BASELINE, "both", ())


def test_a_violation_of_both_is_baseline() -> None:
    tried = trial(BUG_219588, OLD, parse_semantics("no-struct-page+always-dirty-if-writable"), RACE)
    finding = tried.violation("stale-writable-mmuw")
    assert (finding.verdict, finding.side, finding.patches) == (Verdict.BASELINE, "both", ())


def test_a_violation_that_the_other_side_shows_next_door_is_baseline() -> None:
    """One side broke it here; OLD against OLD shows that the other would have, one turn earlier or later."""
    tried = trial(BUG_219588, OLD, OLD, RACE)
    broken = tried.outcome.new.judge.violations.pop("stale-writable-mmuw")
    assert tried.is_next_door(broken.invariant, "new")
    assert tried.violation("stale-writable-mmuw").verdict == Verdict.BASELINE


def test_a_notifier_range_over_two_slots_is_a_hole_of_both() -> None:
    """A yield between the slots drops mmu_lock with the first slot's flush pending; no commit has to do with it."""
    config = Config(vcpus=1, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    ops = (Write(0, 1), Write(1, 5))
    program = Program(config, (Actor("vcpu", ops), Actor("mm", (NumaHint(2, 0, 8, resched=0b10),)))).check()
    tried = trial(program, OLD, NEW)
    assert set(tried.outcome.violations("old")) == set(tried.outcome.violations("new")) == {"stale-translation"}
    assert tried.violation("stale-translation").verdict == Verdict.BASELINE


def test_what_comes_of_a_mapping_that_both_left_is_baseline() -> None:
    tried = replayed(stored("hole-walk-passes-over"))
    old, new = tried.outcome.violations("old"), tried.outcome.violations("new")
    assert "mapped-during-invalidation" in old
    assert "freed-page-access" not in old
    assert "freed-page-access" in new
    assert tried.violation("freed-page-access").verdict == Verdict.BASELINE
    del old["mapped-during-invalidation"]
    assert not tried.is_part_of_shared("freed-page-access", "new")


def test_a_hole_that_one_side_is_saved_from_by_something_unrelated_is_baseline() -> None:
    """Either of two agings flushes in OLD, before the notifier yields between its slots: no one operation less shows
    the hole there, but without both it does."""
    config = Config(vcpus=1, slots=(SlotConfig(0, 4, 0), SlotConfig(4, 4, 4)))
    aging = ClearFlushYoung(2, 0, 8), ClearFlushYoung(3, 0, 8)
    mm = Actor("mm", (*aging, NumaHint(4, 0, 8, resched=0b10)))
    program = Program(config, (Actor("vcpu", (Write(0, 1), Write(1, 5))), mm)).check()
    tried = trial(program, OLD, NEW)
    assert "stale-translation" not in tried.outcome.violations("old")
    assert "stale-translation" in tried.outcome.violations("new")
    assert not tried.is_next_door("stale-translation", "old")
    assert tried.violation("stale-translation").verdict == Verdict.BASELINE


def test_a_patch_that_only_moves_what_comes_before_is_no_cause() -> None:
    """OLD has leaked the page, which is not merged into a huge one there; that a stale fault marks it dirty is one
    patch's doing."""
    config = Config(arch="powerpc", flavour="book3s_pr")
    mm = Actor("mm", (ops.CollapseHuge(2, 0), ops.Reclaim(3, 1)))
    program = Program(config, (Actor("vcpu", (ops.PatchDcbz(0, 1), Write(1, 1))), mm)).check()
    tried = trial(program, FIRST, NEW, (Switch(0, 0, 1, 1), Switch(3, INV_PRIMARY, 1, 0)))
    finding = tried.violation("stale-fault-marks-dirty")
    assert (finding.verdict, finding.patches) == (Verdict.REGRESSION, ("ppc-pr-dirty-accessed-after-pte",))
    assert tried.teller(finding) is not tried


# --- neighbours ------------------------------------------------------------------------------------------------


def test_neighbours_begin_with_the_schedule_itself_and_stay_near() -> None:
    turns = [Turn(n % 2, n % 2, n + 1, 1) for n in range(40)]
    near = list(neighbour_turns(turns, NEIGHBOURS))
    assert len(near) == NEIGHBOURS
    assert near[0] == turns
    assert all(abs(len(other) - len(turns)) <= 4 for other in near)
    assert all(set(other) <= set(turns) for other in near)
    assert near == list(neighbour_turns(turns, NEIGHBOURS))
    assert list(neighbour_turns([], 3)) == [[], [], []]


def test_operations_are_named_by_their_kind() -> None:
    script = script_of(AGED)
    assert operation_tag(script, 0) == "write"
    assert operation_tag(script, 1) == "clear-flush-young"
    assert operation_tag(script, WHOLE_RUN) == "end-of-run"


def test_what_a_required_patch_announces_is_that_ones() -> None:
    """vcpu-map-write-gup-only-when-writable drags in the patch that pins: that it pins is announced there."""
    tried = trial(AGED, FIRST, NEW)
    pins, reads = ("vcpu-map-foll-pin",), ("vcpu-map-write-gup-only-when-writable",)
    assert tried.is_announced_by_required("pinned-map", pins, reads)
    assert not tried.is_announced_by_required("pinned-map", reads, pins), "that one does not drag it in"
    assert not tried.is_announced_by_required("map-refused", pins, reads), "which nobody announces"
    assert not tried.is_announced_by_required("pinned-map", (), reads), "nobody else shows it"
