# SPDX-License-Identifier: GPL-2.0-only
"""Which parts of a user's change a finding comes from."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from fuzzer.change.hunks import Hunk, hunks_of, with_hunks
from fuzzer.change.variant import VariantError, load_variant, sides_of
from fuzzer.judge.shows import shows
from fuzzer.reproducer import Reproducer
from fuzzer.run.compare import Models
from fuzzer.run.model import SHIPPED

_MODELS_MAX: Final = 48
"""Sets of parts that are loaded: each takes a good part of a second."""


class Culprits:
    """Asks which parts of one change findings come from: each set of parts is a model that is loaded once.

    Raises VariantError, as sides_of() does.
    """

    def __init__(self, diff: str, base: str = "") -> None:
        self.sides = sides_of(diff, base)
        self.hunks = hunks_of(self.sides)
        self._old = load_variant(self.sides.old) if self.sides.inside or base else SHIPPED
        self._made: dict[frozenset[Hunk], Models | None] = {}

    def of(self, reproducer: Reproducer) -> tuple[Hunk, ...]:
        """The one part that suffices for the finding, or else parts of which it needs each. None of a change that has
        one part alone, and none where the finding shows with no set of them."""
        if len(self.hunks) < 2:
            return ()
        for hunk in self.hunks:
            if self._suffice([hunk], reproducer):
                return (hunk,)
        kept = list(self.hunks)
        if not self._suffice(kept, reproducer):
            return ()
        for hunk in self.hunks:
            fewer = [one for one in kept if one != hunk]
            if self._suffice(fewer, reproducer):
                kept = fewer
        return tuple(kept)

    def _suffice(self, hunks: Collection[Hunk], reproducer: Reproducer) -> bool:
        models = self._models(frozenset(hunks))
        return models is not None and shows(reproducer.finding, reproducer.run(models))

    def _models(self, hunks: frozenset[Hunk]) -> Models | None:
        """None of parts that make no model, since what one of them calls another one may add, or of one too many."""
        if hunks not in self._made and len(self._made) == _MODELS_MAX:
            return None
        if hunks not in self._made:
            try:
                self._made[hunks] = Models(self._old, load_variant(with_hunks(self.sides, hunks)))
            except VariantError:
                self._made[hunks] = None
        return self._made[hunks]
