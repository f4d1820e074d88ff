# SPDX-License-Identifier: GPL-2.0-only
"""Several profiles in one search: of which of them the program of a seed is.

    mixed*8,arm64*2,riscv        of 11 programs 8 are of the profile mixed, 2 of arm64 and one of riscv

That text is the name of a profile, too: a search, a campaign and its workers hand it on as they do any other name.
"""

from __future__ import annotations

import re
from typing import Final

from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.rng import Rng, stream

SHARES_MAX: Final = 10_000
_SHARE: Final = re.compile(r"([a-z0-9-]+)(?:\*([1-9][0-9]{0,3}))?")


class UnknownProfile(ValueError):
    """No profile has that name; the message is one line."""


def blend_name(shares: dict[str, int]) -> str:
    """The name of the profiles with these shares, none of which is 0, each with a share; of a single one, its own."""
    if len(shares) == 1:
        return next(iter(shares))
    return ",".join(name if share == 1 else f"{name}*{share}" for name, share in shares.items())


def profile_named(name: str) -> Profile:
    """The profile of that name, which may be a blend. Raises UnknownProfile."""
    if name in PROFILES:
        return PROFILES[name]
    shares: dict[str, int] = {}
    for part in name.split(","):
        match = _SHARE.fullmatch(part)
        if match is None or match[1] not in PROFILES or match[1] in shares:
            raise UnknownProfile(f"{name!r} is none of {', '.join(sorted(PROFILES))}, nor several with shares")
        shares[match[1]] = int(match[2] or 1)
    return Profile(name, "several profiles", shares=tuple(shares.items()))


def member(seed: int, profile: Profile) -> Profile:
    """The profile that the program of a seed is of: a pure function, so that all who search agree."""
    if not profile.shares:
        return profile
    drawn = Rng(stream(seed, "blend")).below(sum(share for _, share in profile.shares))
    for name, share in profile.shares:
        if drawn < share:
            return PROFILES[name]
        drawn -= share
    raise AssertionError("the shares are more than their sum")
