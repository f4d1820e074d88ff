# SPDX-License-Identifier: GPL-2.0-only
"""A small seedable generator, the same compiled and interpreted (xorshift, Marsaglia, J. Stat. Software 8, 2003)."""

from typing import Final

from mypy_extensions import i64, mypyc_attr

SEED_MAX: Final = 2**62
"""The largest seed that anybody can ask for."""

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
