# SPDX-License-Identifier: GPL-2.0-only
"""Values that several commands take: semantics, databases, reproducer files."""

from pathlib import Path
from typing import Any

import click
from msgspec import DecodeError
from sqlalchemy import Engine, make_url
from sqlalchemy.exc import ArgumentError

from cli.interpreted import require_interpreted
from db.session import DEFAULT_URL, StoreError, open_database
from db.store import Store
from fuzzer.program.program import Program, decode_program
from fuzzer.reproducer import (
    MAX_BYTES,
    MAX_HVA_PAGES,
    Reproducer,
    ReproducerError,
    check_reproducer,
    decode_reproducer,
)
from fuzzer.tell.export.envelope import EXPORT_BYTES_MAX, is_program, reproducer_bytes
from reference_mmu.changelog.semantics import Semantics, UnknownPatch, parse_semantics
from reference_mmu.config import ConfigError
from workers.refusal import BadInput, refuse


class SpecType(click.ParamType[Semantics]):
    """Semantics as text: old, new, old+PATCH, new-PATCH, …"""

    name = "SPEC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Semantics:
        if isinstance(value, Semantics):
            return value
        try:
            return parse_semantics(value)
        except UnknownPatch as error:
            self.fail(str(error), param, ctx)


def database_name(url: str) -> str:
    """The URL without its password, fit to be shown."""
    return make_url(url).render_as_string(hide_password=True)


def open_store(url: str) -> Store:
    """Open or create the findings database. Raises BadInput."""
    return Store(_opened(url))


def _opened(url: str) -> Engine:
    with refuse(StoreError, advice=f"name another database with --db, e.g. {DEFAULT_URL}"):
        return _until_the_end(open_database(url))


def _until_the_end(engine: Engine) -> Engine:
    """The engine, which gives up its connections when the command ends."""
    click.get_current_context().call_on_close(engine.dispose)
    return engine


def open_engine(url: str) -> Engine:
    """Open or create a database for campaigns. Raises BadInput."""
    with refuse(StoreError, advice="name the workers' database with --db or MMUFUZZ_DATABASE"):
        return _until_the_end(open_database(url))


def existing_engine(url: str) -> Engine:
    """Open a findings database that is there; reading must not create one. Raises BadInput."""
    check_exists(url)
    return _opened(url)


def check_exists(url: str) -> None:
    """Raise BadInput if the database is a file that is not there."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return  # whoever opens it says better what is wrong
    file = parsed.database or ""
    if parsed.get_backend_name() == "sqlite" and file not in ("", ":memory:") and not Path(file).exists():
        raise BadInput(f"there is no database {file}; 'mmufuzz run' makes one, or name one with --db")


def require_superset(old: Semantics, new: Semantics) -> None:
    """Raise BadInput if a patch of OLD is missing in NEW."""
    lacking = sorted(old.patches - new.patches)
    if lacking:
        raise BadInput(f"--new lacks '{lacking[0]}', which --old has: NEW is OLD plus patches; swap or change them")


def read_reproducer(path: str, run_change: bool) -> Reproducer:
    """Read and check a reproducer file. Raises BadInput, also for a file that brings a change of the model along while
    `run_change` does not say that its Python may run here."""
    data = read_file(path)
    if is_program(data):
        raise BadInput(f"{path} is a bare program, with nothing found in it; 'mmufuzz replay {path}' runs it")
    return read_from(path, data, run_change)


def read_file(path: str) -> bytes:
    """The content of a reproducer file, or of a program file. Raises BadInput."""
    advice = "'mmufuzz run' writes reproducers to findings/"
    with refuse(OSError, what=f"cannot read {path}", advice=advice), open(path, "rb") as file:
        return file.read(EXPORT_BYTES_MAX)


def read_program(path: str, data: bytes) -> Program:
    """Check the content of a program file, for which the limits of a reproducer hold. Raises BadInput."""
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path}: the program is {len(data)} bytes, more than {MAX_BYTES}; make it smaller")
    advice = 'mend it; a good one is what the key "program" of a reproducer holds'
    with refuse(ConfigError, DecodeError, UnicodeDecodeError, RecursionError, what=path, advice=advice):
        program = decode_program(data)
        if program.config.hva_pages > MAX_HVA_PAGES:
            raise ConfigError(f"impossible configuration: {program.config.hva_pages} host pages")
        return program


def read_from(path: str, data: bytes, run_change: bool) -> Reproducer:
    """Decode and check the content of a reproducer file; see read_reproducer. Raises BadInput."""
    advice = "'mmufuzz findings show SIGNATURE --reproducer FILE' gets a stored one again"
    with refuse(ReproducerError, UnicodeDecodeError, RecursionError, what=path, advice=advice):
        reproducer = decode_reproducer(reproducer_bytes(data))
        if reproducer.diff:
            if not run_change:
                raise BadInput(f'{path} brings a change of the model; read its "diff" and add --run-change to run it')
            require_interpreted()
        check_reproducer(reproducer)
        return reproducer
