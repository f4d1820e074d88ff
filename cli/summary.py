# SPDX-License-Identifier: GPL-2.0-only
"""The end of a search: what it found, by patch, as text and as JSON; and the command that replays the first."""

import shlex
import shutil
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Final

from cli.change import Exercise
from cli.tally import Tallied, Tally
from fuzzer.judge.finding import Verdict
from fuzzer.known_holes import HOLES
from fuzzer.program.blend import member, profile_named
from fuzzer.search_spec import SearchSpec
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.record import Record

# Most interesting first: what may be a bug of new, then what new repairs, then what both suffer from.
_INTEREST: Final = (
    Verdict.REGRESSION,
    Verdict.UNEXPLAINED,
    Verdict.FIXED,
    Verdict.FIXED_SILENTLY,
    Verdict.BASELINE,
    Verdict.DOCUMENTED,
)


class ReportedFinding(Record):
    """One signature in the JSON of `run`."""

    signature: str
    verdict: Verdict
    kind: str
    what: str
    patches: tuple[str, ...]
    count: int
    reproducer: str | None
    profile: str
    """That the program of its first seed is of."""
    leader: str
    side: str
    sites: tuple[str, str]
    operations: int
    preemptions: int
    minimized: bool
    """Is its story the smallest there is?"""
    known: str
    """The known hole that it is, "" if it is none."""
    parts: tuple[str, ...]
    """FILE:LINE of the parts of the user's change that it comes from; none where nobody asked, see cli/parts.py."""


class RunReport(SearchSpec, kw_only=True):
    """The JSON of `run`: the search, spelled out, and what came of it."""

    programs: int
    steps: int
    seconds: float
    core: str
    verdicts: dict[str, int]
    findings: tuple[ReportedFinding, ...]
    coverage: int
    jobs: int
    campaign: int
    database: str
    change: str
    """Digest of the user's own change, "" if there was none."""
    profiles: str
    """Which profiles were searched, and why, in words."""
    exercise: Exercise
    """Which statements of that change were run."""


def reported(tally: Tally) -> tuple[ReportedFinding, ...]:
    """The findings, most interesting first."""
    signatures = {id(tallied): name for name, tallied in tally.findings.items()}
    searched = profile_named(tally.order.search.profile)
    return tuple(
        ReportedFinding(
            signature=signatures[id(tallied)],
            verdict=tallied.finding.verdict,
            kind=tallied.finding.kind,
            what=tallied.finding.what,
            patches=tallied.finding.patches,
            count=tallied.count,
            reproducer=None if tallied.reproducer is None else str(tallied.reproducer),
            profile=member(tallied.first_seed, searched).name,
            leader=tallied.finding.leader,
            side=tallied.finding.side,
            sites=tallied.finding.sites,
            operations=tallied.operations,
            preemptions=tallied.preemptions,
            minimized=tallied.minimized,
            known=tallied.known,
            parts=tallied.parts,
        )
        for tallied in by_interest(tally.findings.values())
    )


def by_interest(findings: Iterable[Tallied]) -> list[Tallied]:
    """The findings, sorted for a reader: by verdict, then catalogue order of the patches, then the smallest.  What is
    known already comes with what both models have."""
    order = {patch: index for index, patch in enumerate(PATCHES)}

    def key(tallied: Tallied) -> tuple[object, ...]:
        finding = tallied.finding
        places = [order.get(patch, len(order)) for patch in finding.patches]
        size = (tallied.operations, tallied.preemptions, tallied.size)
        verdict = Verdict.BASELINE if tallied.known else finding.verdict
        cause = len(places), places, tallied.parts
        return _INTEREST.index(verdict), bool(tallied.known), cause, size, finding.what, finding.sites

    return sorted(findings, key=key)


def summary_lines(tally: Tally) -> list[str]:
    """One line per patch, or part of the user's change, and verdict; of a violation its sentence matters, which
    stands below where there are several; and one for each known hole."""
    lines = []
    unknown = [tallied for tallied in by_interest(tally.findings.values()) if not tallied.known]
    for (verdict, patches, parts), group in groupby(
        unknown, key=lambda tallied: (tallied.finding.verdict, tallied.finding.patches, tallied.parts)
    ):
        members = [tallied.finding for tallied in group]
        name = (" + ".join(patches) or "no patch") + (f" at {' and '.join(parts)}" if parts else "")
        effects = sorted({finding.what for finding in members if finding.kind == "divergence"})
        stories = dict.fromkeys(finding.story for finding in members if finding.kind == "violation")
        if effects:
            lines.append(f"{name}: {verdict} ({', '.join(effects)})")
        if len(stories) == 1:
            lines.append(f"{name}: {verdict}: {next(iter(stories))}")
        elif stories:
            lines.extend((f"{name}: {verdict}:", *(f"  {story}" for story in stories)))
    return lines + known_lines(tally)


def known_lines(tally: Tally) -> list[str]:
    """E.g. "e500-writable-null: known (new-warning, warn), see docs/findings.md#e500-writable-null"."""
    shown: dict[str, set[str]] = {}
    for tallied in by_interest(tally.findings.values()):
        if tallied.known:
            shown.setdefault(tallied.known, set()).add(tallied.finding.what)
    return [f"{hole}: known ({', '.join(sorted(what))}), see {HOLES[hole].page}" for hole, what in shown.items()]


def unminimized(tally: Tally) -> int:
    """Findings whose story is still the whole program."""
    return sum(tallied.reproducer is not None and not tallied.minimized for tallied in tally.findings.values())


def replay_command(reproducer: Path) -> str:
    """The command that replays a file, as it has to be typed here."""
    called = sys.argv[0]
    name = called if Path(called).name == "mmufuzz" and shutil.which("mmufuzz") != called else "mmufuzz"
    return shlex.join([name, "replay", str(reproducer)])


def first_reproducer(tally: Tally) -> Path | None:
    """The file of the most interesting finding that has one."""
    files = (tallied.reproducer for tallied in by_interest(tally.findings.values()))
    return next((file for file in files if file is not None), None)
