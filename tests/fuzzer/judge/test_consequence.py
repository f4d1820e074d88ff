# SPDX-License-Identifier: GPL-2.0-only
"""What an effect follows from, that no message lists or that one excludes."""

from pathlib import Path

import pytest

from fuzzer.judge.consequence import can_be_consequence, consequence_of
from fuzzer.judge.finding import Verdict
from fuzzer.judge.standing import came_up, hosts_part, standing
from fuzzer.judge.verdict import Trial
from fuzzer.program.ops import (
    CollapseHuge,
    CopyTags,
    EnableLog,
    GetLog,
    NumaHint,
    PatchDcbz,
    Read,
    Reclaim,
    RunL2,
    Share,
    Write,
)
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import decode_reproducer
from fuzzer.run.compare import Comparison, Side
from fuzzer.run.divergence import WHOLE_RUN, Divergence
from fuzzer.schedule.schedule import Switch
from reference_mmu.changelog.effects import CONTENTS, EFFECTS, GIVEN_UP, NEVER_CONSEQUENCES, REFUSALS
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import Config, SlotConfig
from reference_mmu.points import END
from reference_mmu.powerpc.points import PR_PUT
from tests.golden import stored
from tests.trials import only_divergence, replayed, tried_by


def trial(program: Program, *switches: Switch, new: Semantics = NEW, leader: Side = "new") -> Trial:
    return tried_by(Comparison(OLD, new, leader), program, *switches)


def consequence(name: str = "consequence-more-pml") -> Trial:
    """tests/programs/consequence-more-pml: the aging of a reclaim leaves D cached."""
    return replayed(stored(name))


def test_what_follows_from_a_documented_effect_is_documented_as_such() -> None:
    tried = consequence()
    finding = only_divergence(tried, "more-pml-entries")
    assert "more-pml-entries" not in PATCHES["age-elides-tlb-flush"].allowed
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "fewer-flushes (reclaim)")
    assert only_divergence(tried, "fewer-flushes").after == ""


def test_a_consequence_needs_a_cause_that_came_before_and_is_allowed() -> None:
    tried = consequence()
    patches = ("age-elides-tlb-flush",)
    alone = tried.attributor.outcome(tried.attributor.close(patches))
    more, fewer, read = [
        next((d for d in alone.divergences if d.effect == effect), Divergence(effect, 0))
        for effect in ("more-pml-entries", "fewer-flushes", "read-differs")
    ]
    assert consequence_of(more, patches, alone)[0] == Verdict.DOCUMENTED
    unexplained = Verdict.UNEXPLAINED, ""
    assert consequence_of(fewer, patches, alone) == unexplained  # the first of all
    assert consequence_of(read, patches, alone) == unexplained  # not in this run
    assert consequence_of(more, ("sw-dirty-when-ad-off",), alone) == unexplained  # which forbids it


def test_what_comes_after_something_forbidden_is_a_part_of_that_regression() -> None:
    """The page that e500 does not get, since its look-up is refused with a WARN, is not allocated either."""
    config = Config(arch="powerpc", flavour="e500", vcpus=1)
    actors = (Actor("vcpu", (Write(1, 1),)), Actor("mm", (Reclaim(0, 1),)))
    tried = trial(Program(config, actors).check(), Switch(-1, 0, 1, 1))
    assert only_divergence(tried, "new-warning").after == ""
    finding = only_divergence(tried, "host-pages-differ")
    assert (finding.verdict, finding.after) == (Verdict.REGRESSION, "new-warning (write)")
    assert finding.patches == ("e500-faultin-pfn",)


def test_what_follows_from_a_state_that_may_differ_is_a_consequence() -> None:
    """khugepaged gave the page away in NEW, and no operation has told of that yet."""
    tried = consequence("consequence-khugepaged")
    finding = only_divergence(tried, "spurious-instead-of-fixed")
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "host-flags-differ (before it)")
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    (turn,) = [alone.pair.since(d.uid) for d in alone.divergences if d.effect == "spurious-instead-of-fixed"]
    assert "host-pages-differ" in standing(alone, turn).effects
    assert standing(alone, 5) == ([], [], []), "nobody had a page yet"


def test_what_follows_from_a_retry_is_a_consequence_of_what_had_been_read() -> None:
    """When the write comes, the entries are alike again: only the ioctl of old had read another one, see the story."""
    tried = consequence("consequence-retry")
    finding = only_divergence(tried, "fixed-instead-of-none")
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "raw-dirty-bit (read before it, and a retry)")
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    turns = [turn.uid for turn in alone.turns]
    stored = len(turns) - turns[::-1].index(7)  # the turn after the one in which vCPU2 has written
    assert standing(alone, stored).read == [], "the ioctl has not gone on yet"
    assert standing(alone, stored + 1) == ([], ["raw-dirty-bit"], [])


def test_what_differs_later_in_an_operation_may_follow_from_what_came_in_between() -> None:
    tried = consequence("consequence-later-in-the-same-write")
    finding = only_divergence(tried, "more-gup-calls")
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "host-flags-differ (before it)")
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    (seen,) = [d for d in alone.divergences if d.effect == "more-gup-calls"]
    assert came_up(alone, seen) > alone.pair.since(seen.uid)
    assert came_up(alone, Divergence("fewer-gup-calls", seen.uid)) == -1


def test_a_prefetch_that_is_not_repeated_has_not_been_done() -> None:
    tried = consequence("consequence-lost-prefetch")
    finding = only_divergence(tried, "mapping-differs")
    assert "mapping-differs" in PATCHES["always-dirty-if-writable"].forbidden
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "retry-instead-of-spurious (prefetch)")


def test_a_guest_access_is_repeated_and_excuses_no_mapping() -> None:
    tried = consequence("consequence-lost-prefetch")
    outcome = tried.attributor.outcome(tried.attributor.close(("always-dirty-if-writable",)))
    seen = next(d for d in outcome.divergences if d.effect == "mapping-differs")
    for d in outcome.divergences:
        if d.effect in GIVEN_UP:
            outcome.divergences[outcome.divergences.index(d)] = Divergence(d.effect, 1)  # the read of vCPU1
    assert consequence_of(seen, ("always-dirty-if-writable",), outcome) == (Verdict.UNEXPLAINED, "")


def test_what_one_of_several_announces_is_excluded_by_none() -> None:
    """The second of these excludes that fewer references are taken, which the first announces."""
    config = Config(arch="powerpc", flavour="book3s_pr")
    vcpu = Actor("vcpu", (PatchDcbz(0, 0), Read(2, 3)))
    program = Program(config, (vcpu, Actor("mm", (CollapseHuge(3, 0), NumaHint(4, 0, 1))))).check()
    tried = trial(program, Switch(0, 0, 1, 1), leader="old")
    patches = "ppc-dcbz-drop-extra-get-page", "ppc-pr-dirty-accessed-after-pte"
    alone = tried.attributor.outcome(tried.attributor.close(patches))
    assert "fewer-page-references" in PATCHES[patches[1]].forbidden
    seen = next(d for d in alone.divergences if d.effect == "more-gup-calls")
    assert consequence_of(seen, patches, alone)[0] == Verdict.DOCUMENTED


def test_whether_a_killed_access_has_to_wait_is_timing() -> None:
    """A page that OLD has leaked is not merged into a huge one, so a store that is killed has to wait there."""
    config = Config(arch="powerpc", flavour="book3s_pr_32", vcpus=1)
    touched = PatchDcbz(0, 1), Read(1, 1, upgrade_fails=True)
    for killed in (True, False):
        store = Write(2, 1, killed=True) if killed else Write(2, 1)
        mm = Actor("mm", (Reclaim(3, 1), CollapseHuge(4, 0)))
        program = Program(config, (Actor("vcpu", (*touched, store)), mm)).check()
        tried = trial(program, Switch(0, 0, 1, 1), Switch(3, 0, 1, 0), Switch(1, 0, 1, 1), leader="old")
        effects = {d.effect for d in tried.outcome.divergences}
        assert ("fixed-instead-of-error" in effects) == killed
        if killed:
            finding = only_divergence(tried, "fixed-instead-of-error")
            assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "fewer-page-references (patch-dcbz)")
    assert not can_be_consequence("fixed-instead-of-error", meets_mishap=False)
    assert not can_be_consequence("emulate-instead-of-error", meets_mishap=True)


def test_contents_mappings_and_permissions_are_never_a_consequence() -> None:
    assert (
        {"memory-differs", "mapping-differs", "none-instead-of-write-protected"} <= NEVER_CONSEQUENCES < EFFECTS.keys()
    )
    assert "more-pml-entries" not in NEVER_CONSEQUENCES


TAGS = Config(arch="arm64", vcpus=1, backing=("pfnmap-reserved", "anon"))
"""Memory of which nobody holds a page: since arm64-mte-copy-tags-via-gfn-to-page its tags are refused."""


def refused_tags() -> Trial:
    actors = (Actor("vcpu", (Read(0, 1),)), Actor("ioctl", (CopyTags(1, 1),)))
    return trial(Program(TAGS, actors).check(), Switch(-1, END, 1, 1))


@pytest.mark.parametrize("effect", sorted(CONTENTS))
def test_what_was_refused_as_announced_is_not_in_memory(effect: str) -> None:
    assert effect in PATCHES["arm64-mte-copy-tags-via-gfn-to-page"].forbidden
    finding = only_divergence(refused_tags(), effect)
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "errno-differs (copy-tags)")
    assert finding.patches == ("arm64-mte-copy-tags-via-gfn-to-page",)


def test_what_was_let_through_as_announced_is_in_memory() -> None:
    """The page shares its page table with one that is mapped already: both sides take the same steps."""
    config = Config(
        mmu="shadow", paging="npt", vcpus=1, slots=(SlotConfig(2, 6, 0),), backing=("anon", "pfnmap-unrefcounted")
    )
    program = Program(config, (Actor("vcpu", (Read(0, 4), Write(1, 6))),)).check()
    finding = only_divergence(trial(program, leader="old"), "memory-differs")
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "fixed-instead-of-error (write)")


def test_what_was_refused_as_announced_lets_nobody_write() -> None:
    """The guest may only read the page, since the store for which it would be made writable is killed."""
    config = Config(
        arch="arm64", vcpus=1, slots=(SlotConfig(0, 8, 0, logging=True),), backing=("pfnmap-refcounted", "anon")
    )
    program = Program(config, (Actor("vcpu", (Read(0, 2), Write(1, 2, killed=True))),)).check()
    finding = only_divergence(trial(program), "mapping-differs")
    assert finding.patches == ("gup-eagain-is-sigpending",)
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "error-instead-of-fixed (write)")


def test_contents_that_nobody_refused_to_write_are_a_regression() -> None:
    """Beside the page that was refused, another one was left with other contents."""
    tried = refused_tags()
    finding = only_divergence(tried, "memory-differs")
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    memory = Divergence("memory-differs", WHOLE_RUN)
    assert consequence_of(memory, finding.patches, alone)[0] == Verdict.DOCUMENTED
    for host, stamp in (alone.old.m.host, 0), (alone.new.m.host, 7):
        host.pages[host.pte[5]].data = host.reference[5] = stamp
    assert consequence_of(memory, finding.patches, alone) == (Verdict.UNEXPLAINED, "")
    assert tried.effect_verdict(memory, finding.patches, alone) == (Verdict.REGRESSION, "")


def test_an_effect_by_which_nobody_is_refused_excuses_no_contents() -> None:
    assert {"errno-differs", "map-refused", "fixed-instead-of-error", "error-instead-of-none"} < REFUSALS
    assert REFUSALS.isdisjoint({"fixed-instead-of-none", "retry-instead-of-frozen", *CONTENTS})


def test_kvm_maps_what_the_process_has() -> None:
    """KSM's page stays shared where the map that would have broken that is refused. No other mapping is announced."""
    tried = consequence("consequence-refused-map")
    finding = only_divergence(tried, "mapping-differs")
    (patch,) = finding.patches
    assert "mapping-differs" in PATCHES[patch].forbidden
    assert "host-pages-differ" in PATCHES[patch].allowed
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "host-pages-differ (before it)")
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    (seen,) = [d for d in alone.divergences if d.effect == "mapping-differs"]
    assert 0 <= hosts_part(alone) < alone.pair.last_turn(seen.uid)


def test_an_error_follows_from_what_the_process_has_mapped() -> None:
    """mprotect() has changed the VMA, and not yet the PTE: GUP-fast still takes the huge page that OLD alone has."""
    story = Path(__file__).with_name("error_while_protecting.json")
    finding = only_divergence(replayed(decode_reproducer(story.read_bytes())), "error-instead-of-fixed")
    assert "error-instead-of-fixed" in NEVER_CONSEQUENCES
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "host-pages-differ (before it)")


def test_two_that_map_alike_never_part() -> None:
    tried = trial(Program(Config(vcpus=1), (Actor("vcpu", (Write(0, 1),)),)).check(), new=OLD)
    assert hosts_part(tried.outcome) == -1


def test_what_a_commit_announces_that_changes_sides_too_is_no_regression() -> None:
    """OLD puts another page of a huge mapping than it took, and later reuses one that NEW copies, for lack of
    references. In a run with loongarch-faultin-pfn alone, which excludes that pages are marked dirty more often, they
    are: it requires loongarch-dirty-slow-path-only, which announces that."""
    config = Config(arch="loongarch", vcpus=1, backing=("fsdax", "anon"))
    vcpu = Actor("vcpu", (Read(0, 1), Read(1, 0), Read(2, 4), Write(3, 0)))
    program = Program(config, (vcpu, Actor("mm", (Share(4, 0),)))).check()
    tried = trial(program, Switch(0, END, 1, 1), leader="old")
    finding = only_divergence(tried, "more-flushes")
    assert "more-dirty-marks" in PATCHES["loongarch-faultin-pfn"].forbidden
    assert (finding.patches, finding.verdict) == (("loongarch-faultin-pfn",), Verdict.DOCUMENTED)
    alone = tried.attributor.outcome(tried.attributor.close(finding.patches))
    assert Divergence("more-dirty-marks", 2) in alone.divergences


def test_what_one_of_two_patches_excludes_follows_from_what_the_other_announces() -> None:
    """A page that L2 cannot have, since the map of another one is refused, is not reported as written."""
    config = Config(paging="npt", vcpus=1, slots=(SlotConfig(8, 12, 0),), backing=("pfnmap-nostruct", "anon", "anon"))
    vcpu = Actor("vcpu", (RunL2(0, 13, 8, 9), Write(1, 8)))
    program = Program(config, (vcpu, Actor("ioctl", (EnableLog(2, 0), GetLog(3, 0))))).check()
    tried = trial(program, Switch(-1, END, 1, 1), Switch(2, END, 1, 0))
    finding = only_divergence(tried, "fewer-dirty-reports")
    allowing, excluding = (PATCHES[patch] for patch in finding.patches)
    assert "fewer-dirty-reports" in allowing.allowed & excluding.forbidden
    assert (finding.verdict, finding.after) == (Verdict.DOCUMENTED, "map-refused (run-l2)")


@pytest.mark.parametrize("comes_between", [True, False])
def test_who_came_in_between_at_a_step_of_one_side_alone_may_be_late_from_then_on(comes_between: bool) -> None:
    """Before ppc-pr-dirty-accessed-after-pte a fault of PR mode puts its page after mmu_lock is released."""
    actors = Actor("vcpu", (Read(0, 1), Read(1, 2))), Actor("vcpu", (Read(2, 3),))
    program = Program(Config(arch="powerpc", flavour="book3s_pr"), actors).check()
    tried = trial(program, *[Switch(0, PR_PUT, 1, 1)] * comes_between, leader="old")
    begun = [turn.uid for turn in tried.outcome.turns].index(1)
    assert standing(tried.outcome, begun).private == (["pr.put"] if comes_between else [])
