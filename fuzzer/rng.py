# SPDX-License-Identifier: GPL-2.0-only
"""SplitMix64 cut to 62 bits: small, seedable, the same compiled and interpreted (Steele, Lea, Flood, OOPSLA 2014)."""

from typing import Final

from mypy_extensions import i64

_MASK: Final[i64] = (1 << 62) - 1
_LOW: Final[i64] = (1 << 31) - 1


def _times(a: i64, b: i64) -> i64:
    """a * b mod 2**62 without ever leaving 63 bits, so that i64 and int agree."""
    low = a & _LOW
    high = a >> 31
    cross = (high * (b & _LOW) + low * (b >> 31)) & _LOW
    return (low * (b & _LOW) + (cross << 31)) & _MASK


class Rng:
    """A stream of numbers that depends on its seed alone."""

    def __init__(self, seed: i64) -> None:
        self.state: i64 = seed & _MASK

    def next(self) -> i64:
        """Uniform in [0, 2**62)."""
        self.state = (self.state + 0x1E3779B97F4A7C15) & _MASK
        z = self.state
        z = _times(z ^ (z >> 30), 0x3F58476D1CE4E5B9)
        z = _times(z ^ (z >> 27), 0x14D049BB133111EB)
        return z ^ (z >> 31)

    def below(self, n: i64) -> i64:
        """Uniform in [0, n); the bias of the remainder is below n / 2**62."""
        return self.next() % n

    def chance(self, numerator: i64, denominator: i64) -> bool:
        return self.below(denominator) < numerator
