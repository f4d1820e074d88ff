# SPDX-License-Identifier: GPL-2.0-only
"""Does a reproducer still show what it was made for, and by the very same trace?"""

from __future__ import annotations

from fuzzer.judge.shows import shows
from fuzzer.reproducer import Reproducer, trace_digest, trace_steps
from fuzzer.run.outcome import Outcome
from reference_mmu.record import Record
from reference_mmu.version import model_version


class Recheck(Record):
    """`diverging_step`: number, from 1, of the first step of the leader that is not the recorded one, 0 if all are;
    `step_recorded` and `step_now` are "" past the end of the shorter trace."""

    finding_shows: bool
    digest_recorded: str
    digest_now: str
    model_recorded: str
    model_now: str
    diverging_step: int
    step_recorded: str
    step_now: str

    def reproduced(self) -> bool:
        """Exactly: the same finding and the same trace of both models."""
        return self.finding_shows and self.digest_recorded == self.digest_now


def recheck(reproducer: Reproducer, outcome: Outcome) -> Recheck:
    """Hold a replay against what the file says."""
    was, now = list(reproducer.steps), list(trace_steps(outcome))
    length = max(len(was), len(now))
    was += [""] * (length - len(was))
    now += [""] * (length - len(now))
    first = next((index for index in range(length) if was[index] != now[index]), -1)
    return Recheck(
        finding_shows=shows(reproducer.finding, outcome),
        digest_recorded=reproducer.digest,
        digest_now=trace_digest(outcome),
        model_recorded=reproducer.model,
        model_now=model_version(),
        diverging_step=first + 1,
        step_recorded=was[first] if first >= 0 else "",
        step_now=now[first] if first >= 0 else "",
    )
