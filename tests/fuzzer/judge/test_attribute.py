# SPDX-License-Identifier: GPL-2.0-only
"""Attribution: the right patch, by experiment, under the leader that showed the difference."""

from pathlib import Path

import msgspec
import pytest

from fuzzer.judge.attribute import UNATTRIBUTED, Attribution, Attributor
from fuzzer.judge.finding import Direction
from fuzzer.program.ops import ClearFlushYoung, MapPage, Read, Write
from fuzzer.program.program import Actor, Program
from fuzzer.program.script import script_of
from fuzzer.reproducer import decode_reproducer
from fuzzer.run.compare import Comparison, Side, by_switches
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch
from reference_mmu.changelog.patches import PATCHES, can_be_cause, closure, dependents
from reference_mmu.changelog.semantics import NEW, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config, SlotConfig
from reference_mmu.x86.points import FAULT_PFN
from tests.trials import replayed

AGED = Program(Config(vcpus=1), (Actor("vcpu", (Write(0, 1),)), Actor("mm", (ClearFlushYoung(1, 1, 1),)))).check()
UNTRACKED = Program(Config(vcpus=1, paging="ept-noad"), (Actor("vcpu", (Write(0, 1),)),)).check()
BUG_219588 = Program(
    Config(), (Actor("vcpu", (Read(0, 1, upgrade_fails=True),)), Actor("vcpu", (Write(1, 1),)))
).check()
RACE = (Switch(0, FAULT_PFN, 1, 1),)
CAUSES = [patch for patch in PATCHES if can_be_cause(patch)]
BOTH_LEADERS = pytest.mark.parametrize("leader", ["old", "new"])


LEFT = NEW.patches - OLD.patches


def attributor(
    program: Program, leader: Side, switches: tuple[Switch, ...] = (), old: str = "no-struct-page"
) -> Attributor:
    return Attributor(Comparison(parse_semantics(old), NEW, leader), script_of(program), by_switches(switches))


def effect_of(program: Program, leader: Side, effect: str) -> Attribution:
    return attributor(program, leader).attribute(lambda o: any(d.effect == effect for d in o.divergences))


@BOTH_LEADERS
def test_one_patch_is_named_and_not_what_it_requires(leader: Side) -> None:
    direction: Direction = "sufficient" if leader == "old" else "necessary"
    assert effect_of(AGED, leader, "fewer-flushes") == Attribution(("age-elides-tlb-flush",), direction)
    assert effect_of(UNTRACKED, leader, "raw-accessed-bit") == Attribution(("sw-accessed-when-ad-off",), direction)
    assert effect_of(UNTRACKED, leader, "raw-dirty-bit") == Attribution(("sw-dirty-when-ad-off",), direction)


@BOTH_LEADERS
def test_a_violation_is_attributed_in_the_same_way(leader: Side) -> None:
    found = attributor(BUG_219588, leader, RACE).attribute(
        lambda o: bool(o.violations("old")) and not o.violations("new")
    )
    assert found.patches == ("tdp-fault-warn-flush-mmuw",)


def test_what_nothing_shows_is_attributed_to_nothing() -> None:
    found = attributor(AGED, "old").attribute(lambda o: False)
    assert found == UNATTRIBUTED


def test_a_set_is_cut_down_to_what_is_needed() -> None:
    """Something that only shows when two independent patches are on together."""
    wanted = {"age-elides-tlb-flush", "always-dirty-if-writable"}
    found = attributor(AGED, "old").attribute(lambda o: wanted <= o.new.semantics.patches)
    assert found == Attribution(("age-elides-tlb-flush", "always-dirty-if-writable"), "sufficient")


def test_several_that_hide_each_other_are_named_and_not_what_all_of_them_require() -> None:
    """The pfn of a pfnmap is looked up by a map until it pins, or until nobody looks up such pfns. Taking away what
    both build on shows it, and is not needed."""
    memory = Config(slots=(SlotConfig(base=8, npages=8, hva=0),), backing=("anon", "pfnmap-unrefcounted"))
    program = Program(memory.check(), (Actor("vcpu", (MapPage(0, 12, True),)),)).check()
    shows = lambda o: any(d.effect == "fewer-page-lookups" for d in o.divergences)  # noqa: E731
    experiments = attributor(program, "new", old="old")
    single = experiments.name(shows)
    assert experiments.narrowed(single, shows).patches == ("mixedmap-no-refcount", "vcpu-map-foll-pin")
    assert len(single.patches) == 1
    (named,) = single.patches
    assert {"mixedmap-no-refcount", "vcpu-map-foll-pin"} < experiments.close([named])


def test_what_shows_with_one_patch_alone_stays_its_doing() -> None:
    shows = lambda o: any(d.effect == "fewer-flushes" for d in o.divergences)  # noqa: E731
    experiments = attributor(AGED, "new")
    single = experiments.name(shows)
    assert experiments.narrowed(single, shows) == single == Attribution(("age-elides-tlb-flush",), "necessary")


def test_half_an_equivalence_is_not_to_blame_for_what_all_others_show_without_it() -> None:
    """NEW without x86-convert-to-faultin-pfn was never a kernel: there the second try of a fault does not wait, and the
    store comes at another time for that reason."""
    tried = replayed(decode_reproducer(Path(__file__).with_name("half_of_an_equivalence.json").read_bytes()))
    half = "x86-convert-to-faultin-pfn"

    def shows(outcome: Outcome) -> bool:
        return any(d.effect == "young-false-negative" for d in outcome.divergences)

    attributor = tried.attributor
    assert shows(attributor.outcome(attributor.close((half,))))
    assert shows(attributor.outcome(attributor.choices.without(half)))
    for attribution in (attributor.name(shows), attributor.attribute(shows)):
        assert attribution.patches == ("always-dirty-if-writable", "shadow-no-flush-on-clear-dirty")


def test_only_patches_that_tell_the_two_sides_apart_are_candidates() -> None:
    assert attributor(AGED, "old", old="old").candidates == CAUSES
    left = attributor(AGED, "old", old="old+age-elides-tlb-flush").candidates
    assert set(CAUSES) - set(left) == closure(["age-elides-tlb-flush"])


def test_a_set_is_cut_down_also_if_it_drags_in_what_is_not_modelled(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"mixedmap-no-refcount", "vcpu-map-foll-pin"}
    for name in wanted:
        monkeypatch.setitem(PATCHES, name, msgspec.structs.replace(PATCHES[name], modelled=True))
    told = attributor(AGED, "old", old="old+age-valid-roots-only")  # choices are kept, and nobody else has these
    found = told.attribute(lambda o: wanted <= o.new.semantics.patches)
    assert found == Attribution(("mixedmap-no-refcount", "vcpu-map-foll-pin"), "sufficient")


def test_what_is_not_modelled_changes_sides_but_is_no_cause() -> None:
    told = attributor(AGED, "new", old="old")
    assert told.choices.all == NEW.patches
    assert told.close(["x86-dirty-at-spte-creation"]) > {"x86-dirty-at-spte-creation", "series-kvm-no-struct-page"}
    assert not can_be_cause("series-kvm-no-struct-page")
    assert "series-kvm-no-struct-page" not in told.candidates


def test_patches_change_sides_with_what_they_need() -> None:
    sufficient, necessary = (attributor(AGED, leader, old="old") for leader in ("old", "new"))
    for patch in PATCHES:
        assert sufficient.close([patch]) == closure([patch])
        assert necessary.close([patch]) == dependents([patch])


@BOTH_LEADERS
def test_the_leaders_run_is_the_same_in_every_experiment(leader: Side) -> None:
    experiments = attributor(BUG_219588, leader, RACE)
    for patch in LEFT:
        experiments.outcome(experiments.close([patch]))
    turns = {tuple(outcome.turns) for outcome in experiments.outcomes.values()}
    assert len(experiments.outcomes) > 10
    assert len(turns) == 1
    led = NEW if leader == "new" else OLD
    assert all(outcome.pair.leader.semantics == led for outcome in experiments.outcomes.values())


def test_asking_again_costs_nothing() -> None:
    experiments = attributor(AGED, "old")
    once = experiments.outcome(closure(["age-elides-tlb-flush"]))
    assert experiments.outcome(closure(["age-elides-tlb-flush"])) is once


@BOTH_LEADERS
def test_naming_the_first_is_attributing_without_the_others(leader: Side) -> None:
    """Whatever rank decides between several causes, and whichever patches are causes."""
    names = CAUSES
    for step in (3, 5, 7):
        experiments = attributor(AGED, leader)
        shown = set(names[::step])

        def shows(outcome: Outcome, shown: set[str] = shown) -> bool:
            return not shown.isdisjoint(outcome.new.semantics.patches ^ outcome.old.semantics.patches)

        def rank(patch: str, step: int = step) -> int:
            return names.index(patch) * step % 4

        full, short = experiments.attribute(shows, rank), attributor(AGED, leader).name(shows, rank)
        assert (short.patches, short.direction, short.others) == (full.patches, full.direction, ())


@BOTH_LEADERS
def test_naming_takes_few_experiments(leader: Side) -> None:
    experiments = attributor(AGED, leader)
    rank = ["age-elides-tlb-flush"].__contains__
    experiments.name(lambda o: any(d.effect == "fewer-flushes" for d in o.divergences), lambda patch: not rank(patch))
    assert len(experiments.outcomes) <= 5


@BOTH_LEADERS
def test_no_experiment_is_spent_on_a_patch_that_was_not_met(leader: Side) -> None:
    comparison = Comparison(OLD, NEW, leader)
    drive = by_switches(())
    shows = lambda o: any(d.effect == "fewer-flushes" for d in o.divergences)  # noqa: E731
    met = {"age-elides-tlb-flush"}
    told = Attributor(comparison, script_of(AGED), drive, comparison.run(AGED, drive), met)
    assert told.attribute(shows).patches == ("age-elides-tlb-flush",)
    closed = [told.close([patch]) for patch in LEFT]
    assert set(told.outcomes) <= {changed for changed in closed if changed & met} | {LEFT}


def test_the_run_itself_is_not_run_again() -> None:
    drive = by_switches(())
    comparison = Comparison(OLD, NEW, "old")
    own = comparison.run(AGED, drive)
    experiments = Attributor(comparison, script_of(AGED), drive, own)
    assert experiments.outcome(LEFT) is own
    assert experiments.varied(LEFT) == comparison
    assert experiments.effort == 0
