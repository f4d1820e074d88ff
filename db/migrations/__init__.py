# SPDX-License-Identifier: GPL-2.0-only
"""The history of the schema, run from the program: there is no alembic.ini.

Revisions are written by hand, forward and back, and never import db.schema: a revision must go on meaning what it
meant.  tests/db/test_migrations.py proves that together they give exactly the tables of db.schema.
"""

from pathlib import Path

from alembic.config import Config
from sqlalchemy import Connection


def migration_config(connection: Connection) -> Config:
    """What `alembic.command` needs to move the database behind `connection`, within the transaction it is in."""
    config = Config(attributes={"connection": connection})
    # Config interpolates %, which a path may contain.
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
