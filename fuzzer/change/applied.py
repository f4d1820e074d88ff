# SPDX-License-Identifier: GPL-2.0-only
"""What a changed model tells of itself while it runs. Imports nothing of the project, so that every module of such a
model can import it."""

from typing import Final

from mypy_extensions import i64


class Applied:
    """`now`: of a merged model (fuzzer/change/merge.py), the one with the change is running, and not the one without.
    `ran`: places of the change that were reached, by number (fuzzer/change/exercised.py)."""

    def __init__(self) -> None:
        self.now = False
        self.ran: set[int] = set()

    def reached(self, place: i64) -> bool:
        """Note it; True, so that it can stand in front of a condition."""
        self.ran.add(place)
        return True


APPLIED: Final = Applied()
