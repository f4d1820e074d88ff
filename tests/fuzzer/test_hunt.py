# SPDX-License-Identifier: GPL-2.0-only
"""The search as a whole: what it finds, that it finds nothing where there is nothing, that it repeats itself."""

import pytest

from fuzzer.hunt import Hunt
from fuzzer.judge.finding import Verdict, signature
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.recheck import recheck
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.changelog.semantics import NEW, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from tests.hunted import SEEDS, all_found, hunted, reproducer_of

EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@pytest.mark.slow
def test_it_finds_nothing_that_no_commit_announces() -> None:
    bad = {Verdict.REGRESSION, Verdict.UNEXPLAINED}
    assert [found.finding for found in all_found() if found.finding.verdict in bad] == []


def test_it_finds_what_the_commits_announce() -> None:
    """The seeds are fixed; the rarest of these, the warning, shows in one of the ninety programs."""
    pairs = {(patch, found.finding.what) for found in all_found() for patch in found.finding.patches}
    assert pairs >= {
        ("age-elides-tlb-flush", "fewer-flushes"),
        ("always-dirty-if-writable", "spurious-instead-of-fixed"),
        ("resched-check-before-progress", "fewer-checks"),
        ("resched-check-before-progress", "more-checks"),
        ("demote-iter-yielded-warn", "fewer-checks"),
        ("sw-accessed-when-ad-off", "raw-accessed-bit"),
        ("sw-dirty-when-ad-off", "raw-dirty-bit"),
        ("tdp-fault-warn-flush-mmuw", "new-warning"),
    }


def test_bug_219588_is_found_and_known_to_be_fixed() -> None:
    fixed = [found.finding for found in all_found() if found.finding.verdict == Verdict.FIXED]
    assert {(finding.what, finding.side, finding.patches) for finding in fixed} == {
        ("stale-writable-mmuw", "old", ("tdp-fault-warn-flush-mmuw",))
    }


def test_every_effect_is_one_that_its_patches_allow() -> None:
    for found in all_found():
        finding = found.finding
        if finding.kind == "divergence":
            allowed = {effect for patch in finding.patches for effect in PATCHES[patch].allowed}
            assert set(finding.effects) <= allowed, signature(finding)


def test_every_finding_is_told_by_a_small_story() -> None:
    """With these seeds some 2 operations and 1 switch on average, at most 4 of either."""
    stories = [(found.operations, found.preemptions) for found in all_found() if found.reproducer is not None]
    assert len(stories) == len(all_found())
    assert max(operations for operations, _ in stories) <= 6
    assert max(switches for _, switches in stories) <= 6
    assert sum(operations for operations, _ in stories) <= 3 * len(stories)
    assert sum(switches for _, switches in stories) <= 2 * len(stories)


def test_counts_add_up() -> None:
    hunt = hunted()
    assert hunt.ground.programs == len(SEEDS)
    assert sum(hunt.verdicts().values()) == len(hunt.found)
    assert all(found.count >= 1 and found.first_seed in SEEDS for found in all_found())
    # A finding that is counted is one trace of one program, and the other way round.
    assert sum(found.count for found in all_found()) == sum(hunt.traces.values())
    assert {signature(result.finding) for result in hunt.results()} == set(hunt.found)
    assert hunt.ground.steps > 100 * hunt.ground.programs
    assert len(hunt.ground.coverage) > 500


@pytest.mark.slow
def test_the_same_seeds_give_the_same_findings() -> None:
    once, again = (Hunt(SeedRunner(OLD, NEW, PROFILES["aging"])) for _ in range(2))
    for seed in range(12):
        once.one(seed)
        again.one(seed)
    assert once.results() == again.results()
    assert once.results() != ()
    assert once.ground.coverage.pairs == again.ground.coverage.pairs


@pytest.mark.slow
def test_what_has_to_wait_is_judged_in_the_end_and_comes_out_the_same() -> None:
    """The same findings, counts, first seeds and stories, in whatever order they came."""
    runner = SeedRunner(OLD, NEW, PROFILES["tdp"])
    at_once, patient = Hunt(runner), Hunt(runner, patience=1000)
    patient.effort.searched = -10_000  # no head start
    for seed in range(40):
        at_once.one(seed)
        patient.one(seed)
    assert len(patient.docket) > 0
    assert patient.found != at_once.found
    fresh = [found for some in patient.settle() for found in some]
    assert len(patient.docket) == 0
    assert {found.first_seed for found in fresh} <= set(range(40))
    assert patient.found == at_once.found


def test_a_divergence_is_found_with_its_whole_program_before_it_has_a_small_story() -> None:
    hunt = Hunt(SeedRunner(OLD, NEW, PROFILES["aging"]), patience=2)
    hunt.effort.searched = -10_000
    for seed in range(8):
        hunt.one(seed)
    assert len(hunt.docket) > 0
    whole = {
        signature(found.finding): reproducer_of(found)
        for some in hunt.settle()
        for found in some
        if found.finding.kind == "divergence"
    }
    assert whole
    for name, reproducer in whole.items():
        assert not reproducer.complete
        assert recheck(reproducer, reproducer.run()).reproduced()
        small = hunt.found[name]
        assert small.operations <= reproducer.program.operations()
        assert reproducer_of(small).complete
    assert any(hunt.found[name].operations < whole[name].program.operations() for name in whole)


def test_whoever_asks_hears_what_has_grown() -> None:
    hunt = Hunt(SeedRunner(OLD, NEW, PROFILES["aging"]))
    for seed in range(4):
        hunt.one(seed)
    assert set(hunt.grown) == set(hunt.found)
    hunt.grown.clear()
    before = {name: found.count for name, found in hunt.found.items()}
    for seed in range(4, 8):
        hunt.one(seed)
    assert set(hunt.grown) == {name for name, found in hunt.found.items() if found.count != before.get(name)}
    assert all(seed in range(4, 8) for seed in hunt.grown.values())


@EVERY_PROFILE
@pytest.mark.parametrize("pair", [("old", "old+placebo-points"), ("new", "new"), ("new", "new+placebo-flush")])
def test_it_finds_nothing_new_where_nothing_changed(pair: tuple[str, str], profile: Profile) -> None:
    hunt = Hunt(SeedRunner(parse_semantics(pair[0]), parse_semantics(pair[1]), profile))
    for seed in range(25):
        hunt.one(seed)
    accepted = {Verdict.BASELINE, Verdict.DOCUMENTED} if "flush" in pair[1] else {Verdict.BASELINE}
    assert {found.finding.verdict for found in hunt.found.values()} <= accepted


def test_programs_are_led_by_both_sides_in_turn() -> None:
    assert {found.finding.leader for found in all_found()} == {"old", "new"}
    for found in all_found():
        assert found.finding.leader == ("old", "new")[found.first_seed % 2]
