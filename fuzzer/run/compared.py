# SPDX-License-Identifier: GPL-2.0-only
"""What is compared with what: two semantics, who leads, and the copies of the model that they run on."""

from __future__ import annotations

import hashlib

from fuzzer.run.model import SHIPPED, Model
from fuzzer.run.side import Side
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.record import Record


class Models(Record):
    """The copies of the model that the two sides run on; they differ when a user's change is tried: `diff`, which new
    has and old has not, else empty; `base`, a diff that both have; `allowed`, the effects that the user says the change
    may have."""

    old: Model = SHIPPED
    new: Model = SHIPPED
    diff: str = ""
    base: str = ""
    allowed: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """12 hex digits to tell changes apart, "" without one."""
        return hashlib.sha256((self.base + self.diff).encode()).hexdigest()[:12] if self.diff else ""


class Compared(Record):
    """`old` against `new`, one of them leading."""

    old: Semantics
    new: Semantics
    leader: Side
    models: Models = Models()
