# SPDX-License-Identifier: GPL-2.0-only
"""Alembic loads this file to run the revisions; `migration_config` says on which connection."""

from alembic import context

from db.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
