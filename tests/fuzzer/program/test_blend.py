# SPDX-License-Identifier: GPL-2.0-only
"""Several profiles in one search: the programs of each are those that it draws alone, in the shares that were said."""

from collections import Counter

import pytest

from fuzzer.program.blend import UnknownProfile, blend_name, member, profile_named
from fuzzer.program.generate import generate_script
from fuzzer.program.profile import PROFILES


def test_the_programs_of_a_blend_are_those_of_its_profiles() -> None:
    blend = profile_named("tdp*2,arm64,e500")
    for seed in range(20):
        drawn, profile = generate_script(seed, blend), member(seed, blend)
        assert drawn.profile == profile.name
        assert drawn.program() == generate_script(seed, profile).program()


def test_each_profile_gets_its_share() -> None:
    blend = profile_named("tdp*6,arm64*3,e500")
    drawn = Counter(member(seed, blend).name for seed in range(4000))
    # The deviation of a share is below 32 programs: five of these are overwhelming.
    assert all(abs(drawn[name] - 400 * share) < 160 for name, share in blend.shares)


def test_a_name_is_read_as_it_was_written() -> None:
    shares = {"mixed": 8, "arm64": 1}
    assert profile_named(blend_name(shares)).shares == tuple(shares.items())
    assert profile_named(blend_name({"tdp": 3})) is PROFILES["tdp"]


@pytest.mark.parametrize("name", ["", "nosuch", "tdp*0", "tdp,tdp", "tdp,", "tdp*-1", "tdp*99999", "tdp arm64"])
def test_what_is_no_profile_is_refused(name: str) -> None:
    with pytest.raises(UnknownProfile, match="nor several with shares"):
        profile_named(name)
