# SPDX-License-Identifier: GPL-2.0-only
"""What a search is a search of. It imports nothing of the core, so that a process may read it before it chooses one."""

from __future__ import annotations

from reference_mmu.record import Record


class SearchSpec(Record, kw_only=True):
    """What is compared, by which programs and in which interleavings: two searches of the same are the same search, as
    far as they go."""

    old: str
    """Semantics to compare from, as parse_semantics() reads them."""
    new: str
    """Semantics to compare to."""
    profile: str
    """The profile that the programs are of, or several with shares; see fuzzer/program/blend.py."""
    seed: int
    """The seed of the first program; the others follow it."""
    strategies: tuple[str, ...] | None = None
    """Names of schedulers, each of which gets the same share of the programs; None for all there are."""
