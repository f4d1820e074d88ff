# SPDX-License-Identifier: GPL-2.0-only
"""One self-contained file per finding: what was run, under which interleaving, what must come out (formats 1 to 3).

    {"format": 3, "replay": "mmufuzz replay FILE", "model": <version of the model>,
     "old": SPEC, "new": SPEC, "leader": "old"|"new", "program": {...},
     "switches": [[uid, point name, occurrence, actor], ...],
     "finding": {...}, "signature": "...", "digest": <of the whole trace>, "steps": [...],
     "diff": <the user's own change to the model, which NEW ran with; only if there is one>,
     "base": <the diff that both ran with, and that "diff" applies to; only if there is one>,
     "profile": <the profile that a search drew the program from; only if one did>}

`steps` are the leader's turns; with another model version they tell where the two first differ. Formats 1 (never a
diff) and 2 (always one) are older than the base `no-struct-page`, which they call `old`.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final, Literal

import msgspec

from fuzzer.change.variant import VariantError, changed_models
from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Finding, signature
from fuzzer.minimize.minimize import Scenario
from fuzzer.program.program import Program
from fuzzer.run.compare import Comparison, Models, by_switches
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedule import Switch
from reference_mmu.architectures import architecture_of
from reference_mmu.changelog.semantics import UnknownPatch, parse_semantics
from reference_mmu.config import ConfigError
from reference_mmu.observed import OP_COUNTERS, Observed
from reference_mmu.record import Record
from reference_mmu.version import model_version

FORMAT: Final = 3
_MAY_HAVE_DIFF: Final = {1: (False,), 2: (True,), FORMAT: (False, True)}
# What is "old" in formats before 3, whose catalogue began after that series.
_OLD_BEFORE: Final = "no-struct-page"
_FIRST_COUNTERS: Final = 4  # that there were when digests began
MAX_BYTES: Final = 1 << 20
MAX_HVA_PAGES: Final = 1 << 16  # of a file from anywhere; a machine takes some hundred bytes per page


class ReproducerError(ValueError):
    """A file that is no reproducer this version can replay; the message is one line."""


class Reproducer(Record, forbid_unknown_fields=True):
    """The file, decoded. Switch points are names, since numbers may move between versions."""

    format: int
    replay: str
    model: str
    old: str
    new: str
    leader: Literal["old", "new"]
    program: Program
    switches: tuple[tuple[int, str, int, int], ...]
    finding: Finding
    signature: str
    digest: str
    steps: tuple[str, ...]
    complete: bool = True
    diff: str | msgspec.UnsetType = msgspec.UNSET
    base: str | msgspec.UnsetType = msgspec.UNSET
    profile: Annotated[str, msgspec.Meta(max_length=100)] | msgspec.UnsetType = msgspec.UNSET

    def comparison(self, models: Models | None = None) -> Comparison:
        """The comparison to run, of the model with the file's diff unless others are given; raises ReproducerError for
        semantics this version does not know, and for a diff that does not fit its model."""
        try:
            old, new = parse_semantics(self.old), parse_semantics(self.new)
            models = models or (changed_models(self.diff, self.base or "") if self.diff else Models())
        except VariantError as error:
            raise ReproducerError(f"{error} (made with model {self.model}, this is {model_version()})") from error
        except (UnknownPatch, ValueError) as error:
            raise ReproducerError(str(error)) from error
        return Comparison(old, new, self.leader, models)

    def scenario(self) -> Scenario:
        switches = []
        numbers = architecture_of(self.program.config).points.numbers
        for uid, name, occurrence, actor in self.switches:
            if name != "end" and name not in numbers:
                raise ReproducerError(f"unknown point {name!r}: made with another model ({self.model})")
            switches.append(Switch(uid, numbers.get(name, 0), occurrence, actor))
        return Scenario(self.program, tuple(switches))

    def run(self, models: Models | None = None) -> Outcome:
        """Replay it."""
        scenario = self.scenario()
        return self.comparison(models).run(scenario.program, by_switches(scenario.switches))


def make_reproducer(
    comparison: Comparison, scenario: Scenario, outcome: Outcome, finding: Finding, complete: bool, profile: str = ""
) -> Reproducer:
    """The file of a finding; `profile` that its program was drawn from, "" if it was not."""
    names = outcome.old.points.names
    return Reproducer(
        format=FORMAT,
        replay="mmufuzz replay FILE" + (" --run-change" if comparison.models.diff else ""),
        model=model_version(),
        old=comparison.old.spec(),
        new=comparison.new.spec(),
        leader=comparison.leader,
        program=scenario.program,
        switches=tuple((s.uid, names[s.point] or "end", s.occurrence, s.actor) for s in scenario.switches),
        finding=finding,
        signature=signature(finding),
        digest=trace_digest(outcome),
        steps=trace_steps(outcome),
        complete=complete,
        diff=comparison.models.diff or msgspec.UNSET,
        base=comparison.models.base or msgspec.UNSET,
        profile=profile or msgspec.UNSET,
    )


def trace_steps(outcome: Outcome) -> tuple[str, ...]:
    """The leader's turns, one string each."""
    names = outcome.old.points.names
    return tuple(f"{t.actor} {t.uid} {names[t.point] or 'end'} {t.occurrence}" for t in outcome.turns)


def trace_digest(outcome: Outcome) -> str:
    """16 hex digits over everything both models did: turns, events, counters, violations, memory."""
    parts: list[object] = [list(trace_steps(outcome)), int(outcome.pair.drift_turn)]
    for execution in (outcome.old, outcome.new):
        m = execution.m
        parts.append([int(execution.steps), m.observed.all_events(), counted(m.observed)])
        parts.append(sorted((v.invariant, v.uid, v.point) for v in execution.judge.violations.values()))
        parts.append([int(m.host.contents(hva)) for hva in range(m.host.n)])
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def counted(observed: Observed) -> list[int]:
    """The counters of all operations, but for those that came with format 3: files that are older keep their digest."""
    return [int(count) for place, count in enumerate(observed.counters) if place % OP_COUNTERS < _FIRST_COUNTERS]


def encode_reproducer(reproducer: Reproducer) -> bytes:
    return msgspec.json.format(msgspec.json.encode(reproducer), indent=1) + b"\n"


def decode_reproducer(data: bytes) -> Reproducer:
    """Parse a file; raises ReproducerError with one line for anything that is not a reproducer of this format."""
    if len(data) > MAX_BYTES:
        raise ReproducerError(f"reproducer is {len(data)} bytes, more than {MAX_BYTES}")
    try:
        head = msgspec.json.decode(data, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ReproducerError(f"not a reproducer: {error}") from error
    if head.format not in _MAY_HAVE_DIFF:
        raise ReproducerError(
            f"reproducer has format {head.format}, this version reads formats up to {FORMAT}: update mmufuzz"
        )
    try:
        reproducer = msgspec.json.decode(data, type=Reproducer)
        reproducer.program.check()
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigError, RecursionError) as error:
        raise ReproducerError(f"corrupt reproducer: {error}") from error
    if reproducer.diff == "" or bool(reproducer.diff) not in _MAY_HAVE_DIFF[reproducer.format]:
        raise ReproducerError("corrupt reproducer: its diff is empty, or is none of its format: 1 has none, 2 has one")
    if reproducer.base is not msgspec.UNSET and not (reproducer.base and reproducer.diff):
        raise ReproducerError("corrupt reproducer: its base is empty, or there is no diff on top of it")
    if reproducer.program.config.hva_pages > MAX_HVA_PAGES:
        raise ReproducerError(f"corrupt reproducer: {reproducer.program.config.hva_pages} host pages")
    if len(reproducer.switches) > 4096:
        raise ReproducerError(f"corrupt reproducer: {len(reproducer.switches)} switches")
    return _translated(reproducer) if reproducer.format < FORMAT else reproducer


def _translated(reproducer: Reproducer) -> Reproducer:
    """The same file in the format of now."""
    old, new = (re.sub(r"^old(?=\+|$)", _OLD_BEFORE, spec) for spec in (reproducer.old, reproducer.new))
    return msgspec.structs.replace(reproducer, format=FORMAT, old=old, new=new)


class _Head(msgspec.Struct):
    format: int


def check_reproducer(reproducer: Reproducer) -> None:
    """Raise ReproducerError if the parts of a well-formed file do not fit each other."""
    comparison = reproducer.comparison()
    reproducer.scenario()
    if reproducer.signature != signature(reproducer.finding):
        raise ReproducerError("corrupt reproducer: its signature is not that of its finding")
    if reproducer.finding.change and reproducer.finding.change != comparison.models.digest:
        raise ReproducerError("corrupt reproducer: its finding is that of another change")
    if not comparison.old.patches <= comparison.new.patches:
        raise ReproducerError("corrupt reproducer: its old semantics have a patch that new ones lack")
    for patch in reproducer.finding.patches:
        if patch == OWN_CHANGE and reproducer.diff:
            continue
        if patch in comparison.old.patches or patch not in comparison.new.patches:
            raise ReproducerError(f"corrupt reproducer: '{patch}' is no difference between its old and new semantics")
