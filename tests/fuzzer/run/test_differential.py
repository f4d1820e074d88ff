# SPDX-License-Identifier: GPL-2.0-only
"""Effects: how a difference is named, and which differences count once the two have drifted."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from fuzzer.program import ops  # TestYoung by name would be collected as a test
from fuzzer.program.ops import AnyOperation, ClearFlushYoung, DisableLog, GetLog, MapPage, Read, RunL2, Write
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import decode_reproducer
from fuzzer.run.compare import Comparison, Side, by_switches
from fuzzer.run.differential import compare_tables, event_effect, harvest_effect, is_yet_to_come
from fuzzer.run.divergence import WHOLE_RUN, Divergence
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch
from reference_mmu import observed as seen
from reference_mmu.arm64.points import FAULT_GUP
from reference_mmu.changelog.effects import EFFECTS, OUTCOMES
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import OLD as FIRST
from reference_mmu.config import Config, SlotConfig
from reference_mmu.mm.host import HOST_W
from reference_mmu.points import END, GUP_FAULT
from reference_mmu.stage2.points import FAULT_LOCK
from reference_mmu.x86.points import COLLAPSE_FLUSH, FAULT_SEQ
from tests.by_hand import Stage
from tests.planted import PLANTED, shown


def event(kind: int, value: int = 0) -> int:
    return int(kind) << int(seen.EV_SHIFT) | value


# --- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("was", "now", "effect"),
    [
        (event(seen.EV_FLUSH), 0, "fewer-flushes"),
        (0, event(seen.EV_FLUSH), "more-flushes"),
        (event(seen.EV_FLUSH), event(seen.EV_YOUNG, 1), "fewer-flushes"),
        (event(seen.EV_PF, 1), event(seen.EV_PF, 3), "spurious-instead-of-fixed"),
        (0, event(seen.EV_PF, 1), "fixed-instead-of-none"),
        (event(seen.EV_PF, 2), event(seen.EV_READ, 7), "none-instead-of-fast"),
        (
            event(seen.EV_PF, seen.PF_SPURIOUS | seen.PF_READ_ONLY),
            event(seen.EV_PF, seen.PF_FIXED | seen.PF_READ_ONLY),
            "read-only-rewritten",
        ),
        (
            event(seen.EV_PF, seen.PF_FIXED | seen.PF_READ_ONLY),
            event(seen.EV_PF, seen.PF_SPURIOUS | seen.PF_READ_ONLY),
            "read-only-kept",
        ),
        (
            event(seen.EV_PF, seen.PF_SPURIOUS),
            event(seen.EV_PF, seen.PF_FIXED | seen.PF_READ_ONLY),
            "fixed-instead-of-spurious",
        ),
        (event(seen.EV_PF, seen.PF_FIXED), event(seen.EV_PF, seen.PF_FIXED | seen.PF_READ_ONLY), "mapping-differs"),
        (event(seen.EV_YOUNG, 1), event(seen.EV_YOUNG, 0), "young-false-negative"),
        (event(seen.EV_YOUNG, 0), event(seen.EV_YOUNG, 1), "young-false-positive"),
        (event(seen.EV_READ, 1), event(seen.EV_READ, 2), "read-differs"),
        (0, event(seen.EV_WARN), "new-warning"),
        (event(seen.EV_WARN), event(seen.EV_FLUSH), "warning-gone"),
        (event(seen.EV_HARVEST, 0b11), event(seen.EV_HARVEST, 0b01), "fewer-dirty-reports"),
    ],
)
def test_the_first_event_that_differs_gives_the_name(was: int, now: int, effect: str) -> None:
    assert event_effect(was, now) == effect
    assert effect in EFFECTS


def test_every_pair_of_events_has_a_name_of_the_vocabulary_or_none() -> None:
    outcomes = [event(seen.EV_PF, value) for value in range(1, len(OUTCOMES))]
    others = [event(kind, value) for kind in range(2, 7) for value in range(2)]
    events = [0, *outcomes, *others]
    for was in events:
        for now in events:
            name = event_effect(was, now) if was != now else ""
            assert not name or name in EFFECTS, (was, now)


def test_harvests_are_compared_word_by_word() -> None:
    first, second = event(seen.EV_HARVEST, 0b01), event(seen.EV_HARVEST, 1 << 32 | 0b01)
    assert harvest_effect(first, second) == "fewer-dirty-reports"
    assert harvest_effect(second, first) == "more-dirty-reports"
    assert harvest_effect(first, 0) == "fewer-dirty-reports"
    assert harvest_effect(0, first) == "more-dirty-reports"


# --- whole runs ------------------------------------------------------------------------------------------------


def outcome_of(
    vcpu: Iterable[AnyOperation],
    other: Actor,
    switches: tuple[Switch, ...] = (),
    config: Config | None = None,
    leader: Side = "old",
) -> Outcome:
    program = Program(config or Config(vcpus=1), (Actor("vcpu", tuple(vcpu)), other)).check()
    return Comparison(OLD, NEW, leader).run(program, by_switches(switches))


def effects(outcome: Outcome) -> set[str]:
    return {divergence.effect for divergence in outcome.divergences}


@pytest.mark.parametrize("leader", ["old", "new"])
def test_a_flush_less_is_seen_whoever_leads(leader: Side) -> None:
    outcome = outcome_of([Write(0, 1)], Actor("mm", (ClearFlushYoung(1, 1, 1),)), leader=leader)
    assert Divergence("fewer-flushes", 1) in outcome.divergences


def test_old_and_new_are_not_swapped_with_the_leader() -> None:
    by_leader = [
        effects(outcome_of([Write(0, 1)], Actor("mm", (ClearFlushYoung(1, 1, 1),)), leader=leader))
        for leader in ("old", "new")
    ]
    assert by_leader[0] == by_leader[1]


def test_a_program_on_which_both_agree_shows_nothing() -> None:
    assert effects(outcome_of([Write(0, 1), Read(2, 5)], Actor("mm", (ops.TestYoung(1, 1),)))) == set()


def test_what_comes_after_the_drift_is_not_compared() -> None:
    """NEW hits its TLB, so that the page stays old, and says so when asked: the answers are another interleaving's, but
    that NEW is wrong by its own history is an effect."""
    outcome = outcome_of(
        [Write(0, 1), Write(2, 1)],
        Actor("mm", (ClearFlushYoung(1, 1, 1), ops.TestYoung(3, 1))),
        (Switch(0, 0, 1, 1), Switch(1, 0, 1, 0)),
        Config(vcpus=1, paging="ept-noad"),
    )
    assert outcome.pair.drift_turn >= 0
    assert effects(outcome) == {"fewer-flushes", "none-instead-of-fast", "young-false-negative"}


def test_what_is_read_from_a_freed_page_is_a_violation_and_no_effect() -> None:
    """PR mode, 32 bits: an entry without a record outlives its page, but where OLD has leaked that."""
    config = Config(arch="powerpc", flavour="book3s_pr_32", vcpus=1)
    calls = ops.PatchDcbz(0, 1), Read(1, 1, no_memory=True), ops.PatchDcbz(3, 1), Read(4, 1)
    program = Program(config, (Actor("vcpu", calls), Actor("mm", (ops.Migrate(2, 1),)))).check()
    outcome = Comparison(FIRST, NEW, "old").run(program, by_switches((Switch(1, 0, 1, 1),)))
    assert outcome.old.m.observed.events(4) != outcome.new.m.observed.events(4)
    assert {"freed-page-access"} == {*outcome.violations("new")} & {"freed-page-access", "stale-read"}
    assert "freed-page-access" not in outcome.violations("old")
    assert "read-differs" not in effects(outcome)


def test_a_flush_that_comes_after_the_drift_is_none_of_its_effects() -> None:
    """NEW has told the end of the access that is killed by then; OLD goes on, and flushes for what vCPU1 has mapped."""
    config = Config(arch="arm64", vcpus=2, backing=("anon", "pfnmap-nostruct"))
    vcpus = Actor("vcpu", (Read(0, 7, killed=True),)), Actor("vcpu", (Write(1, 7),))
    program = Program(config, (*vcpus, Actor("mm", (ClearFlushYoung(2, 7, 1),)))).check()
    outcome = Comparison(FIRST, NEW, "old").run(program, by_switches((Switch(0, FAULT_LOCK, 1, 1),)))
    assert outcome.pair.drift_events == (0, 1)
    assert event(seen.EV_FLUSH) in outcome.old.m.observed.events(0)
    assert "fewer-flushes" not in effects(outcome)


def test_a_flush_that_comes_next_is_one_although_the_other_has_ended() -> None:
    """NEW finds the page writable already; OLD goes on, and flushes in its next turn."""
    exposed = Path(__file__).parent.parent.parent.parent / "docs" / "exposed"
    outcome = decode_reproducer((exposed / "always-dirty-if-writable.json").read_bytes()).run()
    assert outcome.pair.drift_turn >= 0
    (divergence,) = outcome.divergences
    assert divergence.effect == "fewer-flushes"
    assert event(seen.EV_FLUSH) in outcome.old.m.observed.events(divergence.uid)


def test_a_map_that_the_other_side_may_still_ask_for_is_not_refused() -> None:
    """vCPU1 stands in its first map where the drift begins, and in its second in OLD: both at gup.fault."""
    config = Config(slots=(SlotConfig(4, 8, 0),), backing=("ksm", "anon"))
    vcpus = Actor("vcpu", (MapPage(6, 4), Read(7, 4))), Actor("vcpu", (RunL2(1, 5, 7, 4),))
    comparison = Comparison(FIRST, NEW, "new")
    races = Switch(7, FAULT_SEQ, 1, 1), Switch(1, GUP_FAULT, 1, 0)
    outcome = comparison.run(Program(config, vcpus).check(), by_switches(races))
    assert outcome.pair.prefixes[1] == (0, 1)
    assert "map-refused" not in effects(outcome)
    assert not is_yet_to_come(event(seen.EV_FLUSH), 0)
    assert not is_yet_to_come(event(seen.EV_MAP, seen.MAP_PINNED), event(seen.EV_MAP, seen.MAP_REFUSED))


@pytest.mark.parametrize("leader", ["old", "new"])
def test_an_access_that_one_side_ends_in_an_error_ends_otherwise_whatever_the_other_has_flushed(leader: Side) -> None:
    """Who is killed gets no page in NEW; in OLD it maps the page, and flushes what another vCPU may use of it. If OLD
    leads, the two drift apart there."""
    config = Config(arch="arm64", backing=("pfnmap-nostruct", "anon"))
    actors = (
        Actor("vcpu", (Write(0, 0, killed=True),)),
        Actor("vcpu", (Read(1, 0),)),
        Actor("mm", (ClearFlushYoung(2, 0, 1),)),
    )
    program = Program(config, actors).check()
    outcome = Comparison(FIRST, NEW, leader).run(program, by_switches((Switch(0, FAULT_GUP, 1, 1),)))
    kinds = [event >> seen.EV_SHIFT for event in outcome.old.m.observed.events(0)]
    assert kinds == [seen.EV_FLUSH, seen.EV_PF]
    assert (outcome.pair.drift_turn >= 0) == (leader == "old")
    assert {one.effect for one in outcome.divergences if one.uid == 0} == {"error-instead-of-fixed"}


@pytest.mark.reaches("raw-accessed-bit", "raw-dirty-bit")
def test_the_state_at_the_end_is_compared_if_they_never_drifted() -> None:
    """Without A/D bits NEW uses A and D as software bits."""
    outcome = outcome_of([Write(0, 1)], Actor("mm", ()), config=Config(vcpus=1, paging="ept-noad"))
    assert outcome.pair.drift_turn == -1
    assert outcome.divergences == [
        Divergence("raw-accessed-bit", WHOLE_RUN),
        Divergence("raw-dirty-bit", WHOLE_RUN),
    ]


def mapped_with(*host_flags: int) -> list[Stage]:
    """Machines that map a page of the host with these flags, each as it may."""
    stages = []
    for flags in host_flags:
        stage = Stage()
        stage.m.host.flags[1] = flags
        stage.read(0, 1)
        stages.append(stage)
    return stages


@pytest.mark.parametrize("flags", [(int(HOST_W), 0), (0, int(HOST_W))])
def test_a_leaf_that_follows_the_rights_of_the_host_is_no_other_mapping(flags: tuple[int, int]) -> None:
    old, new = mapped_with(*flags)
    assert "mapping-differs" not in compare_tables(old.m, new.m)


def test_a_leaf_that_lets_write_what_the_host_may_only_read_is_another_mapping() -> None:
    old, new = mapped_with(int(HOST_W), 0)
    old.m.host.flags[1], new.m.host.flags[1] = 0, HOST_W
    assert "mapping-differs" in compare_tables(old.m, new.m)


def moved(stage: Stage, hva: int) -> None:
    """The host has another page there, and KVM maps that."""
    pfn = stage.m.host.alloc(hva, 0)
    stage.m.host.place(hva, pfn, HOST_W)
    stage.read(0, hva)


def test_leaves_that_each_map_what_the_host_has_are_no_other_mapping() -> None:
    old, new = Stage(), Stage()
    moved(new, 1)
    old.read(0, 1)
    assert old.leaf(1) != new.leaf(1)
    assert "mapping-differs" not in compare_tables(old.m, new.m)


@pytest.mark.parametrize(("huge", "seen"), [(True, False), (False, True)])
def test_leaves_of_two_levels_are_another_mapping_unless_the_hosts_differ_so(huge: bool, seen: bool) -> None:
    old, new = Stage(backing=("thp", "anon")), Stage(backing=("thp", "anon"))
    new.m.host.huge[0] = False
    old.read(0, 1)
    new.read(0, 1)
    old.m.host.huge[0] = huge
    assert ("mapping-differs" in compare_tables(old.m, new.m)) == seen


def test_a_leaf_that_maps_what_the_host_has_no_more_is_another_mapping() -> None:
    old, new = Stage(), Stage()
    moved(new, 1)
    old.read(0, 1)
    new.m.host.place(1, new.m.host.alloc(1, 0), HOST_W)
    assert "mapping-differs" in compare_tables(old.m, new.m)


@pytest.mark.reaches("huge-before-flush")
def test_what_an_oracle_notes_in_new_alone_is_an_effect() -> None:
    """OLD flushes for the table before anybody can map the huge page, NEW afterwards."""
    config = Config(vcpus=1, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    switches = (Switch(0, END, 1, 1), Switch(1, COLLAPSE_FLUSH, 1, 0))
    outcome = outcome_of([Write(0, 1), Read(2, 2)], Actor("ioctl", (DisableLog(1, 0),)), switches, config, "new")
    assert Divergence("huge-before-flush", 2) in outcome.divergences


@pytest.mark.parametrize("effect", PLANTED)
def test_a_planted_difference_goes_by_its_name_alone(effect: str) -> None:
    assert effects(shown(*PLANTED[effect])) == {effect}


def test_what_it_cost_counts_when_all_events_agree() -> None:
    """FROZEN is stored in OLD only; one table, so both flush once."""
    config = Config(vcpus=1, backing=("thp", "anon"), slots=(SlotConfig(0, 8, 0, logging=True),))
    outcome = outcome_of([Write(0, 1)], Actor("ioctl", (DisableLog(1, 0),)), config=config)
    assert "fewer-spte-changes" in effects(outcome)
    assert "fewer-flushes" not in effects(outcome)


def test_a_harvest_that_both_make_alike_is_no_effect() -> None:
    config = Config(vcpus=1, slots=(SlotConfig(0, 8, 0, logging=True),))
    outcome = outcome_of([Write(0, 1)], Actor("ioctl", (GetLog(1, 0),)), config=config)
    assert effects(outcome) == set()
