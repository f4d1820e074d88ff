# SPDX-License-Identifier: GPL-2.0-only
"""A finding as a test that fails once it no longer shows."""

from __future__ import annotations

import re

import msgspec

from fuzzer.reproducer import Reproducer, ReproducerError
from fuzzer.tell.export.envelope import known_lines, text_line

_TEMPLATE = '''\
# Replay this file: python -m pytest FILE
# {signature}
# {verdict}: {what}
{known}"""Needs nothing but mmufuzz and pytest; 'mmufuzz replay FILE' tells the story of this file, too."""

from pathlib import Path

from fuzzer.tell.export.envelope import reproducer_bytes
from fuzzer.recheck import recheck
from fuzzer.reproducer import decode_reproducer


def test_{name}() -> None:
    reproducer = decode_reproducer(reproducer_bytes(Path(__file__).read_bytes()))
    check = recheck(reproducer, reproducer.run())
    assert check.finding_shows, f"the finding no longer shows: model {{check.model_recorded}} -> {{check.model_now}}"
    assert check.digest_now == check.digest_recorded, f"another trace from step {{check.diverging_step}} on"


{reproducer}
'''


def pytest_file(reproducer: Reproducer) -> str:
    """A Python file of one test, which holds the reproducer in a comment.

    Raises ReproducerError for one that brings a change of the model: pytest has no --run-change to ask for.
    """
    if reproducer.diff:
        raise ReproducerError("a reproducer with a change of the model can be no pytest file")
    finding = reproducer.finding
    name = re.sub(r"[^a-z0-9]+", "_", f"{finding.what} {finding.verdict}".lower()).strip("_")
    return _TEMPLATE.format(
        signature=_one_line(reproducer.signature),
        verdict=finding.verdict,
        what=_one_line(finding.what),
        known="".join(f"{line}\n" for line in known_lines(reproducer)),
        name=name,
        reproducer=text_line(reproducer),
    )


def _one_line(text: str) -> str:
    """The text where a line break would end a comment and begin code."""
    return msgspec.json.encode(text).decode()[1:-1]
