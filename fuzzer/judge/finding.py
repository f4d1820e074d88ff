# SPDX-License-Identifier: GPL-2.0-only
"""What a search found: a violation or divergence with verdict and attribution, and what makes two the same bug."""

import hashlib
import re
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from reference_mmu.record import Record

_PART_CHARS_MAX: Final = 60
_HASH_DIGITS: Final = 8

# Seeds and counts fit a signed 64-bit column; a message that carries anything else is refused when it is decoded.
Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

Kind = Literal["divergence", "violation"]
Sides = Literal["old", "new", "both"]
Direction = Literal["sufficient", "necessary", "none"]


class Verdict(StrEnum):
    """How a finding is judged."""

    DOCUMENTED = "documented"
    """Divergence; every effect is one that the attributed patch allows, or follows from one that it allows."""
    FIXED = "fixed"
    """Violation of the old model alone that the attributed patch says it fixes."""
    FIXED_SILENTLY = "fixed-silently"
    """Violation of the old model alone that the attributed patch does not claim to fix."""
    BASELINE = "baseline"
    """Violation of both models, here or next door: in a run close to this one."""
    REGRESSION = "regression"
    """Violation of the new model alone, or an effect that the attributed patches forbid, or that follows from one."""
    UNEXPLAINED = "unexplained"
    """Divergence that no patch allows."""


class Finding(Record, forbid_unknown_fields=True):
    """One violation or divergence, judged and attributed.  Raises ValueError for parts that contradict each other."""

    kind: Kind
    what: str
    """The broken invariant; for a divergence its effects, joined with ", "."""
    effects: tuple[str, ...]
    """Empty for a violation."""
    side: Sides
    """Which model broke the invariant; always both for a divergence."""
    leader: Literal["old", "new"]
    """Which model the scheduler steered."""
    patches: tuple[str, ...]
    """The attributed patches, sorted."""
    direction: Direction
    """What the experiment showed: old with the patches has it, new without them loses it, or neither."""
    verdict: Verdict
    sites: tuple[str, str]
    """The pair of racing points, in either order."""
    story: str
    """One sentence for people."""
    after: str = ""
    """The effect that came before it, for a divergence that no message lists and that is judged as a consequence:
    documented after one that is allowed, a regression after one that is forbidden. Else empty."""
    change: str | msgspec.UnsetType = msgspec.UNSET
    """Digest of the user's own change, if that is one of the patches: two changes never share a bug."""

    def __post_init__(self) -> None:
        if self.kind == "violation" and self.effects:
            raise ValueError(f"a violation has no effects, got {', '.join(self.effects)}")
        if self.kind == "divergence" and (self.what != ", ".join(self.effects) or not self.effects):
            raise ValueError(f"a divergence is named by its effects, got {self.what!r} for {self.effects!r}")
        if self.kind == "divergence" and self.side != "both":
            raise ValueError(f"a divergence is on both sides, got {self.side!r}")
        if list(self.patches) != sorted(set(self.patches)):
            raise ValueError(f"patches must be sorted and named once, got {self.patches!r}")


class Occurrence(Record, forbid_unknown_fields=True):
    """One batch that showed a finding: the first program seed of the batch that did, and how many programs did."""

    program_seed: Seed
    count: Positive
    reproducer: bytes | None
    """Content of the reproducer file made from this program, if it was kept."""


class FoundFinding(Record, forbid_unknown_fields=True):
    """A finding with how often, and at which program seed first, one batch found it."""

    finding: Finding
    count: Positive
    first_seed: Seed
    reproducer: bytes | None
    """Content of the reproducer file of `first_seed`, raw or minimized."""


class BatchResult(Record, forbid_unknown_fields=True):
    """All that one batch has to say.  The pair (campaign, number) identifies it, however often it is run."""

    campaign: Natural
    number: Natural
    seed_first: Seed
    programs: Natural
    steps: Natural
    """Turns of both models."""
    seconds: float
    coverage: Natural
    """Coverage points the batch reached."""
    findings: tuple[FoundFinding, ...]


def signature(finding: Finding) -> str:
    """Name of the bug that a finding shows: equal for two findings exactly if they are the same bug.

    Same bug = same invariant or effects, attributed patches (a user's change by its digest), direction and pair of
    racing points; order does not matter in any of them.  The readable parts are cut to a bounded length, the hash tail
    is over the whole parts.  At most 200 characters, all of them safe in a file name, a URL path and a shell word.
    """
    names = sorted(set(finding.effects)) or [finding.what]
    identity: list[object] = [finding.kind, names, sorted(finding.patches), finding.direction, sorted(finding.sites)]
    if finding.change:
        identity.append(finding.change)
    tail = hashlib.sha256(msgspec.json.encode(identity)).hexdigest()[:_HASH_DIGITS]
    return ":".join([finding.kind, _readable(names), _readable(sorted(finding.patches)) or "unattributed", tail])


def _readable(names: list[str]) -> str:
    return re.sub(r"[^a-z0-9+._]+", "-", "+".join(names).lower())[:_PART_CHARS_MAX].strip("-")
