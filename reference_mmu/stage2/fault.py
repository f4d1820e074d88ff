# SPDX-License-Identifier: GPL-2.0-only
"""An access of the guest, and why hardware did not let it through."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64, mypyc_attr

# Why. An access flag fault is one that only the young bit is missing for.
NO_FAULT: Final = 0
TRANSLATION_FAULT: Final = 1
ACCESS_FLAG_FAULT: Final = 2
PERMISSION_FAULT: Final = 3


@mypyc_attr(acyclic=True)
class Fault:
    """One load or store. `kind` and `level` are of the fault it met last: *_FAULT, and the level of the leaf that
    hardware found, 0 if it found none. `upgrade_fails`: GUP-fast for writing fails for a read, as it may at any time.
    `fetch`: the load is that of an instruction."""

    def __init__(self, gfn: i64, write: bool, upgrade_fails: bool) -> None:
        self.gfn = gfn
        self.write = write
        self.upgrade_fails = upgrade_fails
        self.fetch = False
        self.kind: i64 = NO_FAULT
        self.level: i64 = 0
