# SPDX-License-Identifier: GPL-2.0-only
"""Does a run show a finding?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from fuzzer.judge.finding import Finding
from fuzzer.judge.seen import operation_tag
from fuzzer.run.compare import Comparison
from fuzzer.run.divergence import Divergence
from fuzzer.run.outcome import Outcome

# Runs a program again, in the same interleaving, in another comparison.
Rerun = Callable[[Comparison], Outcome]


def shows(finding: Finding, outcome: Outcome) -> bool:
    """The effect in the same kind of operation, or the broken invariant on the same side and on that alone."""
    if finding.kind == "divergence":
        return any(showing(finding, outcome))
    old, new = finding.what in outcome.violations("old"), finding.what in outcome.violations("new")
    return {"both": old or new, "old": old and not new, "new": new and not old}[finding.side]


def showing(finding: Finding, outcome: Outcome) -> Iterator[Divergence]:
    """The divergences of a run that show the effect of a finding in the same kind of operation."""
    tag, script = finding.sites[0], outcome.pair.script
    for seen in outcome.divergences:
        if seen.effect == finding.what and tag in ("-", operation_tag(script, seen.uid)):
            yield seen
