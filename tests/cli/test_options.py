# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

import pytest

from cli.options import searched_profile
from fuzzer.program.blend import profile_named
from fuzzer.program.profile import PROFILES
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import NEW, OLD
from workers.refusal import BadInput


def test_a_profile_that_is_named_is_searched_alone() -> None:
    assert searched_profile("tdp", None, OLD, NEW).profile == searched_profile("tdp", "x86", OLD, NEW).profile == "tdp"
    assert searched_profile("tdp", "all", OLD, NEW).words() == "profile tdp: --profile"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_profiles(arch: str) -> None:
    searched = profile_named(searched_profile(None, arch, OLD, NEW).profile)
    profiles = [PROFILES[name] for name, _ in searched.shares] or [searched]
    assert all(arch in profile.arch for profile in profiles)


def test_a_profile_of_another_architecture_is_refused() -> None:
    for profile in ("tdp", "arm64,tdp"):
        with pytest.raises(
            BadInput, match="the profile tdp has no machine of arm64; --profile is one of arm64, arm64-pages"
        ):
            searched_profile(profile, "arm64", OLD, NEW)
