# SPDX-License-Identifier: GPL-2.0-only
"""Generation: a pure function of seed and profile, possible programs only, everything within reach."""

from collections import Counter

import msgspec
import pytest

from fuzzer.program.generate import generate
from fuzzer.program.ops import KINDS, Invlpg, LoadCr3, Nested, WritePte
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.rng import Rng
from reference_mmu.config import ConfigError

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


GUEST_TABLES = {WritePte, Invlpg, LoadCr3}


def test_the_mix_has_every_operation() -> None:
    """The rarest, CreateSlot and the like, are in some 3 % of programs: 1000 miss one with less than 1 in 10**13."""
    counts = Counter(
        type(op) for seed in range(1000) for actor in generate(seed, PROFILES["mixed"]).actors for op in actor.ops
    )
    assert set(counts) == {kind for kinds in KINDS.values() for kind in kinds}


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


def test_a_weight_of_zero_leaves_it_out() -> None:
    none = msgspec.structs.replace(PROFILES["mixed"], mixes=(), nested=0, tracking=0, slots=0, prefetch=0)
    for seed in range(300):
        program = generate(seed, none)
        assert not program.config.nested
        tags = {op.__struct_config__.tag for actor in program.actors for op in actor.ops}
        assert not tags & {"nested", "track", "untrack", "zap-range", "delete-slot", "move-slot", "prefetch"}


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
