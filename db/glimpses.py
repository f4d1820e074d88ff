# SPDX-License-Identifier: GPL-2.0-only
"""Glimpses: traces that a batch shows while it still runs, for people who do not want to wait for its end."""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import Engine

from db.campaigns import check_campaign
from db.schema import TraceTable
from db.session import transaction, utc_now
from db.upsert import upsert
from fuzzer.judge.seen import Trace


def store_glimpses(
    engine: Engine, campaign: int, seen: Mapping[Trace, int], now: Callable[[], datetime] = utc_now
) -> None:
    """Have the traces of a campaign, each with a seed that showed it, in lists; those that are there stay as they are.

    Nothing is counted: that happens with the batch, once.  Should it never be stored, a trace that no program is
    counted for is what remains of it.  Raises StoreError.
    """
    at = now()
    rows = [
        {
            "campaign_id": campaign,
            "key": trace.key(),
            "count": 0,
            "folded": 0,
            "first_seed": seed,
            "first_seen": at,
            "last_seen": at,
        }
        for trace, seed in seen.items()
    ]
    with transaction(engine, "write") as connection:
        check_campaign(connection, campaign)
        statement = upsert(connection, TraceTable).on_conflict_do_nothing(index_elements=["campaign_id", "key"])
        # In the order in which db.batches locks these rows.
        connection.execute(statement, sorted(rows, key=lambda row: str(row["key"])))
