# SPDX-License-Identifier: GPL-2.0-only
"""`--json FILE`: exactly one JSON document per command, on standard output for "-"."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec
from rich.console import Console

from workers.refusal import BadInput, refuse

_Command = TypeVar("_Command", bound=Callable[..., object])

STANDARD_OUTPUT: Final = "-"
# Wide enough that nothing is cut or folded where no human eye sets the limit.
_PIPE_WIDTH: Final = 1000


class Document:
    """Where a command's JSON goes, and the console for people that is then left."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.to_stdout = path == STANDARD_OUTPUT

    def console(self) -> Console:
        """The console for people: standard output, or standard error when the JSON has that."""
        stream = sys.stderr if self.to_stdout else sys.stdout
        console = Console(file=stream, markup=False, highlight=False, soft_wrap=True)
        if not console.is_terminal:
            console.width = _PIPE_WIDTH
        return console

    def belongs_after(self, subcommand: str) -> None:
        """Raise BadInput if --json was given to a group that only passes on to `subcommand`."""
        if self.path is not None:
            raise BadInput(f"--json stands before '{subcommand}', which would write nothing; put it after")

    def write(self, content: msgspec.Struct) -> None:
        """Write the document, if one was asked for. Raises BadInput."""
        data = msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
        if self.to_stdout:
            click.echo(data, nl=False)
        elif self.path is not None:
            with refuse(
                OSError, what=f"the JSON was not written to {self.path}", advice="run it again with another FILE"
            ):
                write_whole(Path(self.path), data)


class _DocumentType(click.ParamType[Document]):
    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Document:
        if isinstance(value, Document):
            return value
        if value != STANDARD_OUTPUT:
            check_writable(Path(value), "--json")
        return Document(value)


def json_option(command: _Command) -> _Command:
    """Adds --json to a command, which gets a Document as its argument `document`."""
    return click.option(
        "--json",
        "document",
        type=_DocumentType(),
        default=lambda: Document(None),
        show_default=False,
        help="Write the result as one JSON document to FILE, '-' for standard output.",
    )(command)


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file with `data`: a reader, and a crash, finds the old content or the new. Raises OSError."""
    if _is_special(path):
        path.write_bytes(data)
        return
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(data)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Is it a device, a pipe, …: to be written to, never to be replaced?"""
    return path.exists() and not path.is_file()


def check_writable(path: Path, option: str) -> None:
    """Raise BadInput if a file cannot be written at `path`, without leaving a trace."""
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a directory; name a file in it")
    if not _is_special(path):
        with refuse(OSError, what=f"{option} {path} cannot be written", advice="name another file"):
            probe(path.parent)
    elif not os.access(path, os.W_OK):
        raise BadInput(f"{option} {path}: permission denied; name another file")


def check_directory(path: Path, option: str) -> None:
    """Raise BadInput if files cannot be written in the directory `path`, which need not exist, without a trace."""
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    with refuse(OSError, what=f"{option} {path} cannot be written", advice="name another directory"):
        probe(nearest)


def probe(directory: Path) -> None:
    """Write and remove a file in a directory. Raises OSError."""
    with tempfile.TemporaryFile(dir=directory):
        pass
