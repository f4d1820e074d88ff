# SPDX-License-Identifier: GPL-2.0-only
"""The forms in which a reproducer can be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from fuzzer.reproducer import encode_reproducer
from fuzzer.tell.export.chrome_trace import chrome_trace, encode_chrome_trace
from fuzzer.tell.export.pytest_file import pytest_file
from fuzzer.tell.export.story_text import story_text
from fuzzer.tell.export.trace_json import ReplayDocument, encode_document


class Form(NamedTuple):
    """One form: how its files end, their media type, what it is for, and how a trace becomes its bytes."""

    suffix: str
    media_type: str
    purpose: str
    write: Callable[[ReplayDocument], bytes]


FORMS: Final = {
    "reproducer": Form(
        ".json",
        "application/json",
        "program, interleaving, expected finding",
        lambda t: encode_reproducer(t.reproducer),
    ),
    "pytest": Form(
        ".py",
        "text/x-python",
        "a test that fails once the finding is gone",
        lambda t: pytest_file(t.reproducer).encode(),
    ),
    "story": Form(
        ".txt", "text/plain", "OLD beside NEW, step by step", lambda t: story_text(t.reproducer, list(t.rows)).encode()
    ),
    "trace": Form(".trace.json", "application/json", "every step with the state of both models", encode_document),
    "perfetto": Form(
        ".perfetto.json",
        "application/json",
        "for Perfetto and chrome://tracing",
        lambda t: encode_chrome_trace(chrome_trace(t)),
    ),
}
"""Every form, by its name on the command line."""
