# SPDX-License-Identifier: GPL-2.0-only
"""Errors of the command line: one line on stderr, with the next step, and no traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click


class BadInput(click.ClickException):
    """What the user gave cannot be used. Exit code 2; nothing was written."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        line = " ".join(self.format_message().split())
        click.echo(f"mmufuzz: {line if line.isprintable() else harmless(line)}", file=file or sys.stderr)


def harmless(text: str) -> str:
    """What a terminal would act on instead of showing it, and what is no text, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def refuse(*errors: type[Exception], advice: str, what: str = "") -> Iterator[None]:
    """Turn `errors` into BadInput: `what` could not be done, why, and `advice` on what to do next."""
    try:
        yield
    except errors as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(f"{what}{': ' if what else ''}{text}; {advice}") from error
