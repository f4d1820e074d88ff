# SPDX-License-Identifier: GPL-2.0-only
"""One observable difference between two models."""

from __future__ import annotations

from typing import Final

from reference_mmu.record import Record

WHOLE_RUN: Final = -1  # the uid of a divergence of final states


class Divergence(Record, array_like=True):
    """One effect, and the operation that showed it (WHOLE_RUN: the state at the end)."""

    effect: str
    uid: int
