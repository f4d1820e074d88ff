# SPDX-License-Identifier: GPL-2.0-only
"""Running a stored reproducer again: which state of its finding does the model of now speak for?"""

from db.rechecks import Seen
from db.schema import FindingState
from fuzzer.recheck import recheck
from fuzzer.reproducer import ReproducerError, check_reproducer, decode_reproducer


def rechecked(body: bytes) -> Seen:
    """Run a reproducer; a pure function of it and of the model.

    Fixed and no longer reproducing differ: if the leader takes the very steps that were recorded and the finding does
    not show, it is gone; if it cannot take them, the race may still be there, behind other steps.

    A reproducer that brings a change of the model along is code of whoever made it.  It is not run.
    """
    try:
        reproducer = decode_reproducer(body)
        if reproducer.diff:
            return Seen(None, "not run: it brings a change of the model; run it by 'mmufuzz replay FILE --run-change'")
        check_reproducer(reproducer)
        outcome = reproducer.run()
    except (ReproducerError, UnicodeDecodeError, RecursionError) as error:
        return Seen(FindingState.INVALID, one_line(str(error)))
    check = recheck(reproducer, outcome)
    if check.reproduced():
        return Seen(FindingState.OPEN, "the finding shows, by the very same trace")
    if check.finding_shows:
        return Seen(FindingState.OPEN, "the finding shows, by another trace")
    if not check.diverging_step:
        return Seen(FindingState.FIXED, "the same steps do not show it any more")
    was, now = (step or "the end" for step in (check.step_recorded, check.step_now))
    return Seen(
        FindingState.GONE,
        one_line(f"its steps cannot be taken: number {check.diverging_step}, '{was}', is '{now}' now"),
    )


def one_line(text: str) -> str:
    """The text as one line, fit for a history: errors quote what files say."""
    return "".join(char if char.isprintable() else " " for char in text)[:1000]
