# SPDX-License-Identifier: GPL-2.0-only
"""Which of the two runs that a merged model holds: see fuzzer/change/merge.py. Imports nothing, so that every module of
such a model can import it."""

from typing import Final


class Applied:
    """`now`: the model with the change is running, and not the one without."""

    def __init__(self) -> None:
        self.now = False


APPLIED: Final = Applied()
