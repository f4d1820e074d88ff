# SPDX-License-Identifier: GPL-2.0-only
"""A small seedable generator, the same compiled and interpreted (xorshift, Marsaglia, J. Stat. Software 8, 2003)."""

from typing import Final
from zlib import crc32

from mypy_extensions import i64, mypyc_attr

SEED_MAX: Final = 2**62
"""The largest seed that anybody can ask for."""

# What keeps streams of one seed apart. Named here are those that were drawn before streams had names: with any other
# number in their place every seed would be another program, another interleaving or another finding.
_STREAMS: Final = {
    "profile": 0x3C6EF372,  # which profile a program of a mix is of
    "strategy": 0x5EED,  # which strategy schedules it
    "schedule": 0x9E3779B1,  # the scheduler
    "attribution": 0x51ED270B,  # tests.quality.attribution
    "mutants": 0x2545F491,  # tests.quality.mutate
    "noise": 0x6A09E667,  # tests.quality.noise
}

_MASK: Final[i64] = (1 << 62) - 1


@mypyc_attr(acyclic=True, free_list_len=1)
class Rng:
    """A stream of numbers that depends on its seed alone. 62 bits of state: a left shift may wrap a compiled i64, but
    never in the bits that the mask keeps."""

    def __init__(self, seed: i64) -> None:
        self.state: i64 = (seed ^ 0x1E3779B97F4A7C15) & _MASK
        if self.state == 0:
            self.state = 1  # the one value xorshift cannot leave
        # Neighbouring seeds start with neighbouring states: mix them apart.
        for _ in range(8):
            self.below(1)

    def below(self, n: i64) -> i64:
        """Uniform in [0, n); the bias of the remainder is below n / 2**40."""
        x = self.state
        x ^= (x << 13) & _MASK
        x ^= x >> 7
        x ^= (x << 17) & _MASK
        self.state = x
        return (x >> 20) % n

    def chance(self, numerator: i64, denominator: i64) -> bool:
        return self.below(denominator) < numerator


def stream(seed: i64, name: str) -> i64:
    """The seed of the stream with that name: one seed has as many as there are names, apart from each other and from
    its own, which is the program's."""
    return seed ^ (_STREAMS[name] if name in _STREAMS else crc32(name.encode()))
