# SPDX-License-Identifier: GPL-2.0-only
"""What a database says of itself, for `mmufuzz doctor`."""

from datetime import datetime
from typing import Final

from sqlalchemy import Engine, func, select, text

from db.schema import CampaignState, CampaignTable, FleetTable, TaskState, TaskTable
from db.session import as_it_is, transaction, utc_now
from reference_mmu.record import Record

_SERVER: Final = text("SELECT current_setting('server_version'), pg_database_size(current_database())")
_CLOCK: Final = text("SELECT clock_timestamp()")


class Server(Record):
    """A database server.  `skew_seconds` is how far its clock is ahead of ours, give or take half a round trip."""

    version: str
    bytes_total: int
    skew_seconds: float


class Backlog(Record):
    """Campaigns that want workers, by model version, and those that have tasks set aside."""

    running: tuple[tuple[int, str], ...]
    aside: tuple[tuple[int, int], ...]
    """Campaigns, each with how many of its tasks are set aside."""


def server(url: str) -> Server | None:
    """The server behind `url`, None of a file.  Raises StoreError."""
    with as_it_is(url, "read") as connection:
        if connection.dialect.name != "postgresql":
            return None
        version, size = connection.execute(_SERVER).one()
        before = utc_now()
        theirs: datetime = connection.execute(_CLOCK).scalar_one()
        ours = before + (utc_now() - before) / 2
        return Server(str(version), int(size), (theirs - ours).total_seconds())


def backlog(engine: Engine) -> Backlog:
    """What waits for workers, or for people.  Raises StoreError."""
    running = (
        select(CampaignTable.id, CampaignTable.model_version)
        .join(FleetTable, FleetTable.campaign_id == CampaignTable.id)
        .where(CampaignTable.state == CampaignState.RUNNING.value)
        .order_by(CampaignTable.id)
    )
    aside = (
        select(TaskTable.campaign_id, func.count())
        .where(TaskTable.state == TaskState.ASIDE.value)
        .group_by(TaskTable.campaign_id)
        .order_by(TaskTable.campaign_id)
    )
    with transaction(engine, "read") as connection:
        return Backlog(
            tuple((campaign, model) for campaign, model in connection.execute(running)),
            tuple((campaign, tasks) for campaign, tasks in connection.execute(aside)),
        )
