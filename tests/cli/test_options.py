# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

import pytest

from cli.options import chosen_profile
from fuzzer.program.profile import PROFILES
from reference_mmu.architectures import ARCHITECTURES
from workers.refusal import BadInput


def test_a_profile_is_chosen_by_name_by_architecture_or_neither() -> None:
    assert chosen_profile(None, None) == chosen_profile(None, "x86") == "mixed"
    assert chosen_profile("tdp", None) == chosen_profile("tdp", "x86") == "tdp"
    assert chosen_profile(None, "arm64") == "arm64"


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_a_profile(arch: str) -> None:
    assert arch in PROFILES[chosen_profile(None, arch)].arch


def test_a_profile_of_another_architecture_is_refused() -> None:
    with pytest.raises(
        BadInput, match="the profile tdp has no machine of arm64; --profile is one of arm64, arm64-pages"
    ):
        chosen_profile("tdp", "arm64")
