# SPDX-License-Identifier: GPL-2.0-only
"""Bits, also those that do not fit into 32."""

import pytest

from reference_mmu.bits import bit_ull, highest_bit, lowest_bit


@pytest.mark.parametrize("nr", range(63))
def test_a_bit_is_a_power_of_two(nr: int) -> None:
    assert bit_ull(nr) == 2**nr


def test_bits_are_told_apart() -> None:
    assert len({int(bit_ull(nr)) for nr in range(63)}) == 63
    assert sum(bit_ull(nr) for nr in range(63)) == 2**63 - 1


@pytest.mark.parametrize("shift", [0, 31, 54])
def test_the_lowest_and_the_highest_bit_of_a_mask(shift: int) -> None:
    for mask in range(1, 256):
        assert lowest_bit(mask << shift) == (mask & -mask).bit_length() - 1 + shift
        assert highest_bit(mask << shift) == mask.bit_length() - 1 + shift
