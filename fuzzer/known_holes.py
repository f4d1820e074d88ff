# SPDX-License-Identifier: GPL-2.0-only
"""Holes that the code of the 6.13 cycle is known to have, and whether a finding is one of them.

A known hole is told by its cause, whatever its schedule: the architecture and MMU, the broken invariant or the effect,
the commits to which experiments attribute it, the kinds of operations of its story, the points of the kernel that the
story comes by, and where the one stood that broke it.  All of these have to fit.  What a user's own change causes is
never known, and neither is what shows by operations that have no part in the hole, unless nobody has found its smallest
story yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from typing import Annotated, Final

import msgspec

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Finding, Verdict
from fuzzer.oracle.invariants import INVARIANTS
from fuzzer.program.ops import kind_named
from fuzzer.reproducer import Reproducer, ReproducerError, decode_reproducer
from reference_mmu.changelog.effects import EFFECTS, GROUPS
from reference_mmu.changelog.patches import PATCHES, Arch
from reference_mmu.operations import MISHAPS
from reference_mmu.record import Record

NAMEABLE: Final = frozenset({Verdict.BASELINE, Verdict.REGRESSION, Verdict.UNEXPLAINED})
"""What a known hole may have been judged to be."""
_FILE: Final = "known_holes.yaml"

Text = Annotated[str, msgspec.Meta(min_length=1)]
Choice = Annotated[str, msgspec.Meta(pattern=r"^[\w.-]+(\|[\w.-]+)*$")]
"""Names, one of which is enough: "wp.lock|get.lock"."""


class HoleError(ValueError):
    """The file of known holes names something that is not there. The message is one line."""


class Sign(Record, forbid_unknown_fields=True):
    """By what a finding is told to be a hole: all of these fit.

    `what`        invariants, effects and groups of effects, one of which it is.
    `patches`     what it is attributed to: exactly these; nothing, for what both models have.
    `operations`  its story has one of each choice of kinds.
    `others`      further kinds that its smallest story may have, and no more.
    `points`      its story comes by one of each choice.
    `sites`       where the one stood that broke it, or of an effect the kind of operation; anywhere, if there are none.
    `story`       a part of its sentence.
    `memslots`    that its machine has at least.
    `initially_set`  its memslots must begin as all dirty.
    `mishap`      what one of its operations meets.
    """

    what: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    operations: Annotated[tuple[Choice, ...], msgspec.Meta(min_length=1)]
    points: Annotated[tuple[Choice, ...], msgspec.Meta(min_length=1)]
    others: tuple[Choice, ...] = ()
    sites: tuple[Text, ...] = ()
    patches: tuple[Text, ...] = ()
    story: str = ""
    memslots: int = 1
    initially_set: bool = False
    mishap: str = ""

    def causes(self, finding: Finding) -> bool:
        """Is it this invariant or effect, because of the same commits?"""
        return (
            finding.what in self.what
            and finding.patches == self.patches
            and (not self.sites or finding.sites[0] in self.sites)
            and self.story in finding.story
        )

    def tells(self, reproducer: Reproducer, *, smallest: bool) -> bool:
        """Does the story have all that the hole needs, and, if it is the smallest, nothing else?"""
        config = reproducer.program.config
        operations = [op for actor in reproducer.program.actors for op in actor.ops]
        kinds = {type(op).__struct_config__.tag for op in operations}
        points = {step.split()[2] for step in reproducer.steps}
        wanted = [_either(choice) for choice in self.operations]
        known = set[str]().union(*wanted, *map(_either, self.others))
        return (
            len(config.slots) >= self.memslots
            and (config.initially_set or not self.initially_set)
            and (not self.mishap or any(getattr(op, self.mishap, False) for op in operations))
            and all(kinds & choice for choice in wanted)
            and all(points & _either(choice) for choice in self.points)
            and (not smallest or kinds <= known)
        )


class Hole(Record, forbid_unknown_fields=True):
    """One hole. Texts are Markdown, as docs/findings.md shows them; one without `signs` is seen by no search.

    `title`     what is wrong, by the kernel's functions.
    `kernels`   which have it.
    `see`       how to see it.
    `mainline`  what became of it, as far as anybody looked.
    `mmus`      which of the architecture's MMUs have it; all if none is named.
    """

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$")]
    arch: Arch
    title: Text
    kernels: Text
    see: Text
    mainline: Text
    mmus: tuple[str, ...] = ()
    signs: tuple[Sign, ...] = ()

    @property
    def page(self) -> str:
        """Where it is written up."""
        return f"docs/findings.md#{self.id}"

    def is_shown_by(self, reproducer: Reproducer, *, smallest: bool) -> bool:
        """Is the finding of a reproducer this hole?"""
        config = reproducer.program.config
        return (
            self.arch in (config.architecture, "common")
            and (not self.mmus or config.mmu_name in self.mmus)
            and any(
                sign.causes(reproducer.finding) and sign.tells(reproducer, smallest=smallest) for sign in self.signs
            )
        )


class _File(Record, forbid_unknown_fields=True):
    """`words`: names for kinds of operations that have the same part in a hole."""

    words: dict[str, tuple[str, ...]]
    holes: tuple[Hole, ...]


def load_holes(text: str | bytes) -> dict[str, Hole]:
    """Read the known holes, by id.  Raises HoleError."""
    try:
        file = msgspec.yaml.decode(text, type=_File)
    except msgspec.DecodeError as error:
        raise HoleError(f"known holes: {' '.join(str(error).split())}") from error
    holes: dict[str, Hole] = {}
    for hole in file.holes:
        if hole.id in holes:
            raise HoleError(f"known holes: '{hole.id}' stands there twice")
        signs = tuple(_spelled_out(sign, file.words) for sign in hole.signs)
        holes[hole.id] = msgspec.structs.replace(hole, signs=signs)
    for hole in holes.values():
        for name in _unknown(hole):
            raise HoleError(f"known holes: '{hole.id}' names the unknown '{name}'")
    return holes


def hole_of(reproducer: Reproducer, *, smallest: bool = True) -> str:
    """The id of the known hole that a finding is, "" if it is none.  `smallest`: nobody can make its story smaller.

    What a change of the user's own makes worse is never known, whatever it looks like.
    """
    finding = reproducer.finding
    if finding.verdict not in NAMEABLE or OWN_CHANGE in finding.patches:
        return ""
    if reproducer.diff and finding.verdict is not Verdict.BASELINE:
        return ""
    return next((hole.id for hole in HOLES.values() if hole.is_shown_by(reproducer, smallest=smallest)), "")


def hole_of_file(body: bytes, *, smallest: bool) -> str:
    """The hole that the finding of a reproducer's file is.  A file that this version cannot read is none."""
    try:
        return hole_of(decode_reproducer(body), smallest=smallest)
    except ReproducerError:
        return ""


def _either(choice: str) -> set[str]:
    return set(choice.split("|"))


def _spelled_out(sign: Sign, words: dict[str, tuple[str, ...]]) -> Sign:
    """The sign, with kinds of operations for words, and effects for groups."""

    def spelled(choices: Iterable[str]) -> tuple[str, ...]:
        return tuple("|".join("|".join(words.get(name, (name,))) for name in choice.split("|")) for choice in choices)

    what = tuple(one for name in sign.what for one in (sorted(GROUPS[name].effects) if name in GROUPS else [name]))
    return msgspec.structs.replace(sign, what=what, operations=spelled(sign.operations), others=spelled(sign.others))


def _unknown(hole: Hole) -> list[str]:
    """What a hole names and nobody has: invariants, effects, commits, kinds of operations."""
    found = []
    for sign in hole.signs:
        kinds = set[str]().union(*map(_either, (*sign.operations, *sign.others)))
        found += [name for name in sign.what if name not in INVARIANTS and name not in EFFECTS]
        found += [name for name in sign.patches if name not in PATCHES]
        found += sorted(kind for kind in kinds if kind_named(kind) is None)
        found += [sign.mishap] if sign.mishap and sign.mishap not in MISHAPS else []
    return found


HOLES: Final = load_holes((files("fuzzer") / _FILE).read_bytes())
