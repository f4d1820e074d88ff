# SPDX-License-Identifier: GPL-2.0-only
"""What executions cost, in turns of the models and not in seconds, so that what is decided by it is the same again."""

from __future__ import annotations

from typing import Final

from fuzzer.run.outcome import Outcome

# Making two machines and comparing them in the end takes about as long as so many turns.
_PAIR_EFFORT: Final = 100
# In the beginning everything is new, and a few thousand programs show most of it: so much may be judged beyond the
# share, though not faster than programs are run. 5000 programs' worth: seconds compiled, half a minute interpreted.
_HEAD_START: Final = 1_600_000


def effort_of(outcome: Outcome) -> int:
    """What a run of both models has cost, in turns."""
    return outcome.steps + _PAIR_EFFORT


class Effort:
    """How much a search has spent, on running programs and on judging what they show.

    `patience`: while it searches, of so many parts at most one is spent on judging, after a head start; what has to
    wait is judged later, or in the end.  0: nothing waits.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.searched = 0
        self.judged = 0

    def allows(self) -> bool:
        """May something be judged now?  One judgement may take more than is left: then the next ones wait longer."""
        if self.patience == 0:
            return True
        return self.judged <= self.searched // (self.patience - 1) + min(self.searched, _HEAD_START)
