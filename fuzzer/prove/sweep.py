# SPDX-License-Identifier: GPL-2.0-only
"""A claim of equivalence, and the cases over which it is compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from fuzzer.program.profile import Profile
from reference_mmu.changelog.semantics import Semantics

BOTH: Final = (False, True)


class SemanticsPair(NamedTuple):
    """Two semantics that must behave alike: without the patch and with it."""

    before: Semantics
    after: Semantics


class InputCase(NamedTuple):
    """One input, named as in `Sweep.inputs`, and what came out on either side."""

    inputs: tuple[object, ...]
    before: object
    after: object


class Sweep(NamedTuple):
    """`claim`: what is compared over which domain, for people; `inputs`: the names of a case's inputs; `profile`: that
    of the programs, if these are the cases."""

    claim: str
    inputs: tuple[str, ...]
    cases: Callable[[SemanticsPair], Iterator[InputCase]]
    profile: Profile | None = None

    @property
    def over(self) -> str:
        """What it is exhaustive over: the subject of the claim, and the inputs, each combination of which is a case."""
        return f"{self.claim.partition(':')[0]}: {' × '.join(self.inputs)}"
