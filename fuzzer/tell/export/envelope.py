# SPDX-License-Identifier: GPL-2.0-only
"""Every exported file carries its reproducer and says how to replay itself; this finds the reproducer again."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from fuzzer.known_holes import HOLES, hole_of
from fuzzer.reproducer import Reproducer

REPLAY_COMMAND: Final = "mmufuzz replay FILE"
"""What a file says to whoever wants to replay it, in every form but the pytest file."""

EXPORT_BYTES_MAX: Final = 64 << 20
"""Most bytes of a file that are read; a trace of the longest run that a machine in pictures can make has a tenth of
it."""

_IN_TEXT: Final = re.compile(rb"^# reproducer: (\{.*\})$", re.MULTILINE)


class _Program(msgspec.Struct):
    """What a program has at its top, also one that lacks half of it; an export of a reproducer may name actors, too."""

    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    actors: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    reproducer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Json(msgspec.Struct):
    """A JSON export: the reproducer stands at the top, or where trace viewers keep what they do not know."""

    reproducer: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    otherData: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET  # noqa: N815  (the viewers' name)


def text_line(reproducer: Reproducer) -> str:
    """The reproducer as one comment line of a text file; JSON escapes every line break."""
    return f"# reproducer: {msgspec.json.encode(reproducer).decode()}"


def known_lines(reproducer: Reproducer) -> list[str]:
    """What the head of a text file says of the known hole that the finding is; nothing if it is none."""
    known = hole_of(reproducer)
    return [f"# A known hole, {known}: see {HOLES[known].page}"] if known else []


def is_program(data: bytes) -> bool:
    """Is it meant to be a bare program, as the key "program" of a reproducer holds it?"""
    try:
        head = msgspec.json.decode(data, type=_Program)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    named = isinstance(head.config, msgspec.Raw) or isinstance(head.actors, msgspec.Raw)
    return named and not isinstance(head.reproducer, msgspec.Raw)


def reproducer_bytes(data: bytes) -> bytes:
    """The reproducer in an exported file, `data` itself if that is no export: it may be a reproducer."""
    found = _IN_TEXT.search(data)
    if found is not None:
        return found.group(1)
    try:
        outer = msgspec.json.decode(data, type=_Json)
        if isinstance(outer.otherData, msgspec.Raw):
            outer = msgspec.json.decode(outer.otherData, type=_Json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data
    return bytes(outer.reproducer) if isinstance(outer.reproducer, msgspec.Raw) else data
