# SPDX-License-Identifier: GPL-2.0-only
"""include/linux/bits.h, include/linux/bitops.h"""

from mypy_extensions import i64


def bit_ull(nr: i64, one: i64 = 1) -> i64:
    """BIT_ULL(nr), 0 <= nr < 63.

    Shift this, never a literal, by a number that is not known beforehand. mypyc writes a literal into the C source as
    it stands, where `1` is an int of 32 bits: from nr = 31 on, compiled code would compute something else than
    interpreted code does, and nobody would say so (docs/decisions/0015). `one` is there to be no literal.
    """
    return one << nr


def lowest_bit(mask: i64) -> i64:
    """__ffs(mask), mask > 0."""
    bit: i64 = 0
    while (mask >> bit) & 1 == 0:
        bit += 1
    return bit


def highest_bit(mask: i64) -> i64:
    """__fls(mask), mask > 0."""
    bit: i64 = -1
    while mask >> (bit + 1) != 0:
        bit += 1
    return bit
