# SPDX-License-Identifier: GPL-2.0-only
"""Opening a database: one URL for SQLite or PostgreSQL, brought to the schema of this code before anyone uses it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, func, inspect, make_url, select
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)

from db.holes import name_all
from db.migrations import migration_config

DEFAULT_URL: Final = "sqlite:///mmufuzz.db"

# How long a writer waits for another one.  A batch is stored in milliseconds; only a stopped process holds out longer.
_BUSY_TIMEOUT_SECONDS: Final = 30
_CONNECT_SECONDS: Final = 5
_LOCK_MS: Final = 30_000
# Key of the PostgreSQL advisory lock that migrations hold: "mmuf".
_MIGRATION_LOCK: Final = 0x6D6D7566
# A SQLite transaction that reads first and writes later fails at once, without waiting, when another process wrote in
# between.  A writer therefore takes the write lock at its beginning.
_WRITE: Final = {"sqlite_begin": "BEGIN IMMEDIATE"}


def utc_now() -> datetime:
    """The clock of who is given no other."""
    return datetime.now(UTC)


class StoreError(Exception):
    """The database cannot do what was asked.  The text is one line for people; the cause is chained."""


class StoreUnavailable(StoreError):
    """The database cannot be reached now, or gave up a transaction that may well succeed when tried again."""


def open_database(url: str = DEFAULT_URL) -> Engine:
    """Open the database at `url`, create or migrate its tables, and return an engine for `transaction`.

    An engine belongs to the process that opened it.  Raises StoreError for a malformed URL, a driver that is unknown
    or not installed, a place that cannot be written, a file that is no database, somebody else's database, and a
    database of a newer schema.
    """
    parsed = _parse(url)
    place = parsed.render_as_string(hide_password=True)
    with _told(place):
        if parsed.get_backend_name() == "sqlite":
            with _directory_lock(parsed):
                _migrate(parsed, place)
                # Only now: a file that turned out to be somebody else's stays as it is.
                _engine(parsed, "journal_mode=WAL", poolclass=NullPool).connect().close()
        else:
            _migrate(parsed, place)
        return _engine(parsed, "foreign_keys=ON")


@contextmanager
def as_it_is(url: str, purpose: Literal["read", "write"]) -> Iterator[Connection]:
    """A transaction on the database at `url` whatever its schema, without migrating it; foreign keys are off in SQLite.
    Raises StoreError."""
    parsed = _parse(url)
    place = parsed.render_as_string(hide_password=True)
    with _told(place):
        engine = _engine(parsed, "foreign_keys=OFF", poolclass=NullPool)
        with (engine.execution_options(**_WRITE) if purpose == "write" else engine).begin() as connection:
            yield connection


@contextmanager
def _told(place: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise StoreError(f"cannot open {place}: the driver {error.name} is not installed") from error
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"cannot open {place}: {_one_line(error)}") from error
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StoreError(f"cannot open {place}: {_one_line(error)}") from error


@contextmanager
def transaction(engine: Engine, purpose: Literal["read", "write"]) -> Iterator[Connection]:
    """A transaction that is committed at the end of the block, and rolled back if the block raises.

    Raises StoreUnavailable if it may succeed later, and StoreError for what the database refuses, values that it
    cannot hold included.
    """
    try:
        with (engine.execution_options(**_WRITE) if purpose == "write" else engine).begin() as connection:
            yield connection
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(f"database: {_one_line(error)}") from error
    except (SQLAlchemyError, OverflowError, UnicodeEncodeError) as error:
        raise StoreError(f"database: {_one_line(error)}") from error


def _parse(url: str) -> URL:
    try:
        if not url.isprintable():
            raise ValueError("control characters, or bytes that are not text")
        parsed = make_url(url)
        dialect = parsed.get_dialect()
    except NoSuchModuleError as error:
        raise StoreError(f"unknown database driver {parsed.drivername!r}: use sqlite or postgresql") from error
    except (ArgumentError, ValueError) as error:
        # The text itself stays out of the message: it may hold a password.
        raise StoreError(f"not a database URL, expected one like {DEFAULT_URL}") from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql") or dialect.is_async:
        raise StoreError(f"unsupported database driver {parsed.drivername!r}: use sqlite or postgresql")
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError(f"a database in memory is lost at exit, expected a file as in {DEFAULT_URL}")
    if parsed.get_backend_name() == "sqlite" and parsed.query:
        raise StoreError(f"SQLite is used without options, expected a URL like {DEFAULT_URL}")
    return parsed


@contextmanager
def _directory_lock(url: URL) -> Iterator[None]:
    """Lets one process of this host at a time create or migrate a SQLite file.

    SQLite's own lock does not do: switching a new file to WAL fails at once, busy timeout or not, if another process
    has it open.  The lock is on the directory, because closing any descriptor of the database file itself would drop
    the locks that SQLite holds on it in this process.
    """
    descriptor = os.open(Path(url.database or "").parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _engine(url: URL, *pragmas: str, **options: Any) -> Engine:
    if url.get_backend_name() != "sqlite":
        # No statement can outlast a lock that a stopped process holds; and text is text in an SQL_ASCII database, too.
        connect_args: dict[str, Any] = {
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c lock_timeout={_LOCK_MS}",
            "client_encoding": "utf8",
        }
        return create_engine(url, pool_pre_ping=True, connect_args=connect_args, **options)
    # isolation_level None: the sqlite3 module must not begin transactions behind our back, and never before DDL.
    connect_args = {"timeout": _BUSY_TIMEOUT_SECONDS, "isolation_level": None}
    engine = create_engine(url, connect_args=connect_args, **options)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _record: object) -> None:
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN"))

    return engine


def _migrate(url: URL, place: str) -> None:
    # Without foreign keys: a revision that rebuilds a table drops the old one, and that would delete what refers to it.
    engine = _engine(url, "foreign_keys=OFF", poolclass=NullPool)
    with engine.connect() as connection:
        if _revision(connection) == _script(connection).get_current_head():
            return
    with engine.execution_options(**_WRITE).begin() as connection:
        lock_schema(connection)
        check_ours(connection, place)
        move_forward(connection)


def move_forward(connection: Connection) -> None:
    """Bring the tables to the newest revision, and what is stored to the names that this version has for it."""
    command.upgrade(migration_config(connection), "head")
    name_all(connection)


def lock_schema(connection: Connection) -> None:
    """Wait until nobody else migrates; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))


def check_ours(connection: Connection, place: str) -> None:
    """Raise StoreError for somebody else's database, and for one of a newer schema."""
    script, revision = _script(connection), _revision(connection)
    if revision is None and inspect(connection).get_table_names():
        raise StoreError(f"{place} belongs to another program: it has tables, but none that says their revision")
    if revision is not None and revision not in {known.revision for known in script.walk_revisions()}:
        raise StoreError(
            f"{place} was written by a newer version: it has schema revision {revision}, "
            f"this version knows {script.get_current_head()}"
        )


def _script(connection: Connection) -> ScriptDirectory:
    return ScriptDirectory.from_config(migration_config(connection))


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
