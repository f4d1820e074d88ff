# SPDX-License-Identifier: GPL-2.0-only
"""The schema of a database, forward and back, without opening it: whoever opens one migrates it forward."""

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url

from db.migrations import migration_config
from db.session import StoreError, as_it_is, check_ours, lock_schema, move_forward
from reference_mmu.record import Record


class Revisions(Record):
    """Where a database is, None before the first revision, among those that this version knows, the oldest first."""

    database: str | None
    known: tuple[str, ...]

    def is_newest(self) -> bool:
        return self.database == self.known[-1]

    def is_known(self) -> bool:
        return self.database is None or self.database in self.known


def revisions(url: str) -> Revisions:
    """Where the database at `url` is.  Raises StoreError."""
    with as_it_is(url, "read") as connection:
        return _revisions(connection)


def forward(url: str) -> Revisions:
    """Migrate to the newest revision; returns where it was.  Raises StoreError."""
    with as_it_is(url, "write") as connection:
        before = _checked(connection, url)
        move_forward(connection)
        return before


def back(url: str, target: str | None = None) -> Revisions:
    """Migrate to an earlier revision, by default the one before; what only later ones have is lost.  Returns where it
    is then.  Raises StoreError."""
    with as_it_is(url, "write") as connection:
        at = _checked(connection, url)
        if at.database is None:
            raise StoreError("the database has no tables: there is nothing to go back from")
        earlier = at.known[: at.known.index(at.database)]
        if target is None and not earlier:
            raise StoreError(f"{at.database} is the first revision")
        if target is not None and target not in earlier:
            raise StoreError(f"{target} is no revision before {at.database}: {', '.join(earlier) or 'there is none'}")
        command.downgrade(migration_config(connection), target or earlier[-1])
        return _revisions(connection)


def _checked(connection: Connection, url: str) -> Revisions:
    lock_schema(connection)
    check_ours(connection, make_url(url).render_as_string(hide_password=True))
    return _revisions(connection)


def _revisions(connection: Connection) -> Revisions:
    script = ScriptDirectory.from_config(migration_config(connection))
    known = tuple(revision.revision for revision in script.walk_revisions())[::-1]
    return Revisions(MigrationContext.configure(connection).get_current_revision(), known)
