# SPDX-License-Identifier: GPL-2.0-only
"""Generation: a pure function of seed and profile, possible programs only, everything within reach."""

from collections import Counter
from typing import get_args

import msgspec
import pytest

from fuzzer.program.generate import _BLOCK_PAGES as BLOCK_PAGES
from fuzzer.program.generate import generate
from fuzzer.program.need import APIC_PAGE, ARM64, DIRTY_LOG, GUEST_MEMFD, HV, PR, S390, SMALLER_THAN_1G, X86
from fuzzer.program.ops import (
    ALL_KINDS,
    AccessApic,
    CopyTags,
    CreateLapic,
    Fetch,
    Invlpg,
    LoadCr3,
    MapPage,
    Nested,
    Operation,
    PatchDcbz,
    PoisonPrivate,
    PunchHole,
    RefreshCache,
    RunL2,
    RunVsie,
    SetAttributes,
    SharePage,
    Untrack,
    WritePte,
    ZapRange,
    tag,
)
from fuzzer.program.profile import DRAWN_BY, PROFILES, Profile, check_weights
from fuzzer.program.program import Program
from fuzzer.program.rng import Rng, stream
from reference_mmu.config import Backing, Config, ConfigError

EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@EVERY_PROFILE
def test_every_program_is_possible(profile: Profile) -> None:
    for seed in range(500):
        try:
            generate(seed, profile).check()
        except ConfigError as error:
            pytest.fail(f"seed {seed}: {error}")


def test_a_seed_names_one_program() -> None:
    for seed in (0, 1, 2**40, 2**62):
        assert generate(seed, PROFILES["mixed"]) == generate(seed, PROFILES["mixed"])


def test_neighbouring_seeds_are_unrelated() -> None:
    programs = [generate(seed, PROFILES["mixed"]) for seed in range(200)]
    assert len({program.config for program in programs}) > 150


HOST = set(PROFILES["host"].invalidations) - set(PROFILES["zap"].invalidations)
GUEST_TABLES = {WritePte, Invlpg, LoadCr3}


# What only programs of this profile have.
OF_A_PROFILE: dict[str, set[type[Operation]]] = {
    "vcpu-map": {MapPage, RefreshCache, RunL2},
    "apic-page": {CreateLapic, AccessApic},
    "gmem": {PoisonPrivate, PunchHole, SetAttributes},
    "host": {kind for kind in ALL_KINDS if tag(kind) in HOST},
}


def mishaps_of(profile: Profile, mishap: str) -> list[bool]:
    """Of the operations of 100 programs that have this mishap as an argument, which meet it."""
    programs = [generate(seed, profile) for seed in range(100)]
    operations = [op for program in programs for actor in program.actors for op in actor.ops]
    return [getattr(op, mishap) for op in operations if hasattr(op, mishap)]


def test_a_mishap_of_one_kind_of_operation_changes_nothing_else() -> None:
    profile = PROFILES["powerpc-pr"]
    met = mishaps_of(profile, "no_segment")
    assert 1 / 12 < sum(met) / len(met) < 1 / 6  # one of MISHAPS_OF, of some 500
    without = msgspec.structs.replace(profile, met=())
    assert not any(mishaps_of(without, "no_segment"))
    assert mishaps_of(without, "killed") == mishaps_of(profile, "killed")
    assert not any(mishaps_of(PROFILES["host"], "no_segment"))


def test_a_mishap_that_an_operation_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="'create-lapic' with 'killed', which it has not"):
        msgspec.structs.replace(PROFILES["apic-page"], met=(("create-lapic", "killed", 1),))


# What no machine of x86 does.
OF_OTHERS = {PatchDcbz, SharePage, RunVsie, CopyTags, Fetch}


def test_the_mix_has_every_operation_that_is_of_no_profile_alone() -> None:
    """The rarest, CreateSlot and the like, are in some 3 % of programs: 1000 miss one with less than 1 in 10**13."""
    counts = Counter(
        type(op) for seed in range(1000) for actor in generate(seed, PROFILES["mixed"]).actors for op in actor.ops
    )
    assert set(counts) == set(ALL_KINDS).difference(*OF_A_PROFILE.values(), OF_OTHERS)


@pytest.mark.parametrize("name", OF_A_PROFILE)
def test_a_profile_has_the_operations_that_are_its_own(name: str) -> None:
    programs = [generate(seed, PROFILES[name]) for seed in range(300)]
    assert {type(op) for program in programs for actor in program.actors for op in actor.ops} >= OF_A_PROFILE[name]


def test_the_host_takes_away_every_kind_of_memory_from_several_threads() -> None:
    programs = [generate(seed, PROFILES["host"]) for seed in range(500)]
    assert {sum(actor.kind == "mm" for actor in program.actors) for program in programs} == {1, 2, 3}
    assert {kind for program in programs for kind in program.config.backing} == set(get_args(Backing))


def test_guest_tables_have_theirs() -> None:
    programs = [generate(seed, PROFILES["guest-tables"]) for seed in range(300)]
    kinds = {type(op) for program in programs for actor in program.actors for op in actor.ops}
    assert kinds > GUEST_TABLES
    assert {program.config.levels for program in programs} == {2, 3}
    assert {program.config.paging for program in programs} == {"ept-ad", "ept-ad-nopml", "ept-noad", "npt"}
    # Every table can be reached from CR3 and is mapped somewhere.
    for program in programs:
        tables = {pte.table for pte in program.config.guest_ptes}
        assert tables - {program.config.cr3} <= {pte.gfn for pte in program.config.guest_ptes}


def test_every_vcpu_with_an_apic_gets_it_first_and_the_page_is_where_the_host_works() -> None:
    programs = [generate(seed, PROFILES["apic-page"]) for seed in range(200)]
    for program in programs:
        vcpus = [actor for actor in program.actors if actor.kind == "vcpu"]
        assert all(isinstance(actor.ops[0], CreateLapic) for actor in vcpus)
    hvas = Counter(
        getattr(op, "hva", -1) == program.config.apic_access_page.hva
        for program in programs
        if program.config.apic_access_page is not None
        for actor in program.actors
        if actor.kind == "mm"
        for op in actor.ops
    )
    assert hvas[True] > hvas[False] > 0
    assert {program.config.backing[-1] for program in programs} == {"anon", "untouched"}


def test_a_weight_of_zero_leaves_it_out() -> None:
    none = msgspec.structs.replace(PROFILES["mixed"], mixes=(), nested=0, tracking=0, slots=0, prefetch=0)
    for seed in range(300):
        program = generate(seed, none)
        assert not program.config.nested
        assert not tags_of(program) & {
            "nested",
            "track",
            "untrack",
            "zap-range",
            "delete-slot",
            "move-slot",
            "prefetch",
        }


def test_a_profile_restricts_the_machine() -> None:
    assert {generate(seed, PROFILES["shadow"]).config.mmu for seed in range(50)} == {"shadow"}
    assert {generate(seed, PROFILES["tdp"]).config.mmu for seed in range(50)} == {"tdp"}
    assert {generate(seed, PROFILES["mixed"]).config.mmu for seed in range(50)} == {"tdp", "shadow"}


def test_nested_operations_come_with_nested_machines_only() -> None:
    for seed in range(300):
        program = generate(seed, PROFILES["mixed"])
        has_nested = any(isinstance(op, Nested) for actor in program.actors for op in actor.ops)
        assert program.config.nested or not has_nested


def test_the_stream_is_uniform_enough() -> None:
    """800 draws per value, 28 standard deviation: 150 off is beyond five of them."""
    counts = Counter(int(Rng(seed).below(10)) for seed in range(8000))
    assert all(abs(count - 800) < 150 for count in counts.values())
    rng = Rng(0)
    assert all(0 <= rng.below(7) < 7 for _ in range(1000))


def test_the_stream_never_gets_stuck() -> None:
    for seed in (0, 0x1E3779B97F4A7C15, -1):
        rng = Rng(seed)
        assert len({int(rng.below(1 << 30)) for _ in range(100)}) > 95


# --- weights of their own --------------------------------------------------------------------------------------


def tags_of(program: Program) -> set[str]:
    return {tag(type(op)) for actor in program.actors for op in actor.ops}


def without_uids(program: Program) -> list[object]:
    """Configuration and operations in their order, without the numbers of these."""
    return [program.config, *(msgspec.structs.replace(op, uid=0) for actor in program.actors for op in actor.ops)]


def with_weight(profile: Profile, name: str, weight: int) -> Profile:
    return msgspec.structs.replace(profile, added=(*profile.added, (name, weight)))


@EVERY_PROFILE
def test_a_weight_of_its_own_leaves_all_other_programs_alone(profile: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile to which a kind is added changes no program of another one, nor, with the weight at 0, its own."""
    before = [generate(seed, profile) for seed in range(100)]
    assert [generate(seed, with_weight(profile, "share", 0)) for seed in range(100)] == before
    extended = with_weight(PROFILES["aging"], "share", 12)
    monkeypatch.setitem(PROFILES, "aging", extended)
    assert any("share" in tags_of(generate(seed, extended)) for seed in range(20))
    assert [generate(seed, profile) for seed in range(100)] == before


@pytest.mark.parametrize("kind", ALL_KINDS, ids=tag)
def test_a_kind_is_drawn_by_the_types_of_its_arguments(kind: type[Operation]) -> None:
    """Possible programs, in which everything else is as it was: as if somebody had put operations between the others.
    The profile has every machine and every actor."""
    for profile in (PROFILES["mixed"], PROFILES["guest-tables"]):
        alone = msgspec.structs.replace(profile, mixes=(), added=())
        added = with_weight(alone, tag(kind), 6)
        found = 0
        for seed in range(100):
            before, after = without_uids(generate(seed, alone)), without_uids(generate(seed, added).check())
            rest = iter(after)
            assert all(op in rest for op in before), f"seed {seed}"
            found += len(after) - len(before)
        is_shadowed = profile is PROFILES["guest-tables"]
        needs = {*kind.needs} - {X86, DIRTY_LOG, SMALLER_THAN_1G}  # which both have
        foreign = {PR, HV, ARM64, S390, APIC_PAGE, GUEST_MEMFD}
        expected = not needs & foreign and (not needs or (kind in GUEST_TABLES) == is_shadowed)
        assert (found > 0) == expected


def test_two_added_kinds_do_not_know_of_each_other() -> None:
    """The operations of one are the same whether there is the other or not."""
    plain = msgspec.structs.replace(PROFILES["mixed"], mixes=(), tracking=0, added=())
    one, both = with_weight(plain, "nested", 6), with_weight(with_weight(plain, "prefetch", 6), "nested", 6)
    for seed in range(100):
        rest = iter(without_uids(generate(seed, both)))
        assert all(op in rest for op in without_uids(generate(seed, one))), f"seed {seed}"


def test_the_words_of_a_weight_without_an_operation() -> None:
    with pytest.raises(ValueError, match=r"^profile aging has a weight for 'unmap', which is no operation: add it to "):
        with_weight(PROFILES["aging"], "unmap", 1)
    with pytest.raises(ValueError, match=r"^profile zap has a weight for 'unmap', which is no operation: add it to "):
        msgspec.structs.replace(PROFILES["zap"], invalidations=("unmap",))
    with pytest.raises(ValueError, match=r"^profile zap: 'track' is no invalidation; give it a weight in `added`$"):
        msgspec.structs.replace(PROFILES["zap"], invalidations=("track",))


def test_the_words_of_an_operation_without_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    check_weights()
    monkeypatch.setitem(DRAWN_BY, "tracking", (Untrack, ZapRange))
    with pytest.raises(ValueError, match=r"^without a weight: track; give it one in `added` of a profile in "):
        check_weights()
    monkeypatch.setitem(PROFILES, "mixed", with_weight(PROFILES["mixed"], "track", 1))
    check_weights()


@pytest.mark.parametrize("weight", DRAWN_BY)
def test_the_operations_of_a_weight_go_with_it(weight: str) -> None:
    """All of them, and no others."""
    of_its_own = {
        "guest_tables": PROFILES["guest-tables"],
        "apic": msgspec.structs.replace(PROFILES["apic-page"], reads=1),
    }
    profile = of_its_own.get(weight, PROFILES["mixed"])
    invalidations = tuple(map(tag, DRAWN_BY["invalidation"]))
    all_there = msgspec.structs.replace(profile, mixes=(), tracking=1, added=(), invalidations=invalidations)
    none = msgspec.structs.replace(all_there, **{weight: 0})
    with_it = set().union(*(tags_of(generate(seed, all_there)) for seed in range(1000)))
    without = set().union(*(tags_of(generate(seed, none)) for seed in range(1000)))
    assert with_it - without == set(map(tag, DRAWN_BY[weight]))


def test_streams_of_a_seed_are_apart() -> None:
    names = ("profile", "strategy", "schedule", "attribution", "mutants", "noise", "added share", "added migrate")
    assert len({stream(7, name) for name in names} | {7}) == len(names) + 1
    assert stream(7, "added share") == stream(7, "added share")


def test_a_block_is_a_huge_page_of_the_usual_machine() -> None:
    assert 1 << Config().bits == BLOCK_PAGES
    sizes = {len(generate(seed, PROFILES["tdp"]).config.backing) for seed in range(50)}
    assert sizes == {2, 3}
