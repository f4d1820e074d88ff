# SPDX-License-Identifier: GPL-2.0-only
"""Which parts of a change the findings of a search come from: those that have one in common have one cause."""

from contextlib import suppress
from typing import Final

from rich.console import Console

from cli.change import OwnChange
from cli.summary import by_interest
from cli.tally import Tally
from cli.watchdog import Hung, watchdog
from fuzzer.culprits import Culprits
from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Verdict
from fuzzer.reproducer import decode_reproducer

_FINDINGS_MAX: Final = 100
"""Each takes about as many runs as the change has parts, of milliseconds."""


def name_parts(tally: Tally, change: OwnChange, console: Console) -> None:
    """Note with the most interesting findings which parts they come from, as far as experiments tell."""
    asked = [
        tallied
        for tallied in by_interest(tally.findings.values())
        if tallied.finding.patches == (OWN_CHANGE,) and tallied.finding.verdict is not Verdict.DOCUMENTED
    ]
    if not asked:
        return
    culprits = Culprits(change.diff, change.base)
    if len(culprits.hunks) < 2:
        return
    console.print(f"which of the {len(culprits.hunks)} parts of the change do the findings come from?")
    for tallied in asked[:_FINDINGS_MAX]:
        if tallied.reproducer is not None:
            with suppress(Hung), watchdog():
                hunks = culprits.of(decode_reproducer(tallied.reproducer.read_bytes()))
                tallied.parts = tuple(map(str, hunks))
