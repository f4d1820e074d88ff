# SPDX-License-Identifier: GPL-2.0-only
"""Opening a database: new, old, shared, foreign, broken.  The revisions give exactly the tables of db.schema."""

import fcntl
import multiprocessing
import os
import re
import sqlite3
from collections.abc import Iterator
from io import StringIO
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, event, inspect, text
from sqlalchemy.schema import CreateIndex, CreateTable, ExecutableDDLElement

from db import migrations
from db.migrations import migration_config
from db.schema import Base
from db.session import StoreError, open_database, transaction

TABLES = {table.name for table in Base.metadata.sorted_tables}


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def names_of_tables(engine: Engine) -> set[str]:
    with transaction(engine, "read") as connection:
        return set(inspect(connection).get_table_names())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mmufuzz.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_database(url_of(path))
    yield engine
    engine.dispose()


def with_added_columns(statements: list[str]) -> list[str]:
    """The statements that create tables, with the columns that later ones add where the schema has them: last."""
    added = [
        match for statement in statements if (match := re.fullmatch(r"ALTER TABLE (\w+) ADD COLUMN (.*)", statement))
    ]
    created = [statement for statement in statements if statement.startswith("CREATE")]
    for table, column in (match.groups() for match in added):
        at = next(index for index, text in enumerate(created) if text.startswith(f"CREATE TABLE {table} "))
        created[at] = created[at].replace(", CONSTRAINT", f", {column}, CONSTRAINT", 1)
    return created


class TestRevisions:
    def test_a_new_file_gets_all_tables(self, engine: Engine) -> None:
        assert names_of_tables(engine) == TABLES | {"alembic_version"}

    def test_they_give_the_tables_of_the_schema(self, engine: Engine) -> None:
        with transaction(engine, "read") as connection:
            context = MigrationContext.configure(connection, opts={"compare_server_default": True})
            assert compare_metadata(context, Base.metadata) == []

    def test_they_give_the_tables_of_the_schema_on_postgresql(self) -> None:
        """No server needed: the statements that the revisions emit are those that the schema compiles to."""
        output = StringIO()
        options = {"as_sql": True, "output_buffer": output}
        context = MigrationContext.configure(dialect_name="postgresql", opts=options)
        with Operations.context(context):
            for revision in reversed(list(ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions())):
                revision.module.upgrade()
        tables = Base.metadata.sorted_tables
        statements: list[ExecutableDDLElement] = [CreateTable(table) for table in tables]
        statements += [CreateIndex(index) for table in tables for index in table.indexes]
        schema = [str(statement.compile(dialect=context.dialect)) for statement in statements]
        emitted = [normal(statement) for statement in output.getvalue().split(";")[:-1]]
        made = [statement for statement in emitted if not statement.startswith("UPDATE ")]  # rows move, tables stay
        assert sorted(with_added_columns(made)) == sorted(map(normal, schema))

    def test_down_to_nothing_and_up_again(self, engine: Engine) -> None:
        with transaction(engine, "write") as connection:
            command.downgrade(migration_config(connection), "base")
        assert names_of_tables(engine) == {"alembic_version"}
        with transaction(engine, "write") as connection:
            command.upgrade(migration_config(connection), "head")
        assert names_of_tables(engine) == TABLES | {"alembic_version"}

    def test_one_that_fails_leaves_nothing(self, path: Path) -> None:
        def fail(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
            if "CREATE TABLE reproducers" in statement:
                raise OSError(28, "No space left on device")

        event.listen(Engine, "before_cursor_execute", fail)
        try:
            with pytest.raises(StoreError, match="No space left on device"):
                open_database(url_of(path))
        finally:
            event.remove(Engine, "before_cursor_execute", fail)
        with sqlite3.connect(path) as connection:
            assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
        connection.close()
        open_database(url_of(path)).dispose()


def normal(statement: str) -> str:
    return " ".join(statement.split())


class TestOpen:
    def test_settings_of_sqlite(self, engine: Engine) -> None:
        with transaction(engine, "read") as connection:
            pragmas = {
                name: connection.scalar(text(f"PRAGMA {name}"))
                for name in ("journal_mode", "foreign_keys", "busy_timeout")
            }
        assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000}

    def test_what_is_there_stays(self, engine: Engine, path: Path) -> None:
        with transaction(engine, "write") as connection:
            row = "1, 'a', '2026-11-22', '', '', '', 0, 1, 1, '', '', NULL"
            connection.execute(text(f"INSERT INTO campaigns VALUES ({row})"))
        again = open_database(url_of(path))
        with transaction(again, "read") as connection:
            assert connection.scalar(text("SELECT count(*) FROM campaigns")) == 1
        again.dispose()

    def test_does_not_wait_for_a_writer(self, engine: Engine, path: Path) -> None:
        """If it did, it would fail after the busy timeout: the writer ends only when the opening has."""
        with transaction(engine, "write"):
            open_database(url_of(path)).dispose()

    def test_a_path_with_odd_characters(self, tmp_path: Path) -> None:
        folder = tmp_path / "100% 'odd' ü"
        folder.mkdir()
        engine = open_database(url_of(folder / "my findings.db"))
        assert names_of_tables(engine) > TABLES
        engine.dispose()

    def test_a_new_file_is_made_under_a_lock_on_its_directory(self, path: Path) -> None:
        held = []

        def try_lock(_connection: Connection, _cursor: object, statement: str, *_rest: object) -> None:
            if "CREATE TABLE campaigns" in statement:
                descriptor = os.open(path.parent, os.O_RDONLY)
                with pytest.raises(BlockingIOError):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.close(descriptor)
                held.append(statement)

        event.listen(Engine, "before_cursor_execute", try_lock)
        try:
            open_database(url_of(path)).dispose()
        finally:
            event.remove(Engine, "before_cursor_execute", try_lock)
        assert len(held) == 1

    def test_processes_that_start_together(self, path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(3)
        children = [context.Process(target=open_together, args=(path, barrier)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]


def open_together(path: Path, barrier: Barrier) -> None:
    """Several new files, one after the other: the race for each of them is short."""
    for number in range(5):
        barrier.wait(timeout=60)  # seconds; if another process died
        engine = open_database(url_of(path.with_name(f"{number}.db")))
        assert names_of_tables(engine) > TABLES
        engine.dispose()


class TestRefuses:
    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("mmufuzz.db", "not a database URL"),
            ("", "not a database URL"),
            ("postgresql://host:port/x", "not a database URL"),
            ("oracel:///x", "unknown database driver 'oracel'"),
            ("sqlite+nodriver:///x", r"unknown database driver 'sqlite\+nodriver'"),
            ("mysql://host/x", "unsupported database driver 'mysql'"),
            ("sqlite+aiosqlite:///x", "unsupported database driver"),
            ("sqlite://", "a database in memory is lost"),
            ("sqlite:///:memory:", "a database in memory is lost"),
            ("postgresql+psycopg2cffi://a:secret@host/x", "driver psycopg2cffi is not installed"),
        ],
    )
    def test_url(self, url: str, message: str) -> None:
        with pytest.raises(StoreError, match=message) as caught:
            open_database(url)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("a-file/mmufuzz.db", "Not a directory"),
            ("nowhere/mmufuzz.db", "No such file"),
            ("folder", "unable to open"),
        ],
    )
    def test_place(self, tmp_path: Path, place: str, message: str) -> None:
        (tmp_path / "a-file").write_text("")
        (tmp_path / "folder").mkdir()
        with pytest.raises(StoreError, match=message) as caught:
            open_database(url_of(tmp_path / place))
        assert str(caught.value).startswith(f"cannot open sqlite:///{tmp_path}")
        assert "\n" not in str(caught.value)

    def test_a_file_that_is_no_database(self, path: Path) -> None:
        path.write_bytes(b"changelog: not a database\n" * 100)
        before = path.read_bytes()
        with pytest.raises(StoreError, match="file is not a database"):
            open_database(url_of(path))
        assert path.read_bytes() == before

    def test_a_damaged_database(self, path: Path) -> None:
        open_database(url_of(path)).dispose()
        damaged = path.read_bytes()
        path.write_bytes(damaged[:100] + b"\xff" * 5000 + damaged[5100:])
        with pytest.raises(StoreError, match="malformed"):
            open_database(url_of(path))

    def test_the_database_of_another_program(self, path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(StoreError, match="belongs to another program"):
            open_database(url_of(path))
        assert path.read_bytes() == before

    def test_a_newer_schema(self, path: Path, engine: Engine) -> None:
        with transaction(engine, "write") as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(
            StoreError, match="written by a newer version: it has schema revision 9999, this version knows"
        ):
            open_database(url_of(path))
