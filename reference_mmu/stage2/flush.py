# SPDX-License-Identifier: GPL-2.0-only
"""Flushes of a range of gfns on all CPUs, where hardware has them."""

from __future__ import annotations

from collections.abc import Generator

from mypy_extensions import i64

from ..observed import EV_FLUSH
from .machine import Stage2Machine


def flush_remote_range(m: Stage2Machine, first: i64, end: i64, point: int) -> Generator[int, None, None]:
    """Flush gfns [first, end) everywhere. Yields `point` while CPUs may still use what they have."""
    m.record(EV_FLUSH, i64(0))
    yield point
    m.flush_range(first, end)
