# SPDX-License-Identifier: GPL-2.0-only
"""Bits that do not fit into 32."""

import pytest

from reference_mmu.bits import bit_ull


@pytest.mark.parametrize("nr", range(63))
def test_a_bit_is_a_power_of_two(nr: int) -> None:
    assert bit_ull(nr) == 2**nr


def test_bits_are_told_apart() -> None:
    assert len({int(bit_ull(nr)) for nr in range(63)}) == 63
    assert sum(bit_ull(nr) for nr in range(63)) == 2**63 - 1
