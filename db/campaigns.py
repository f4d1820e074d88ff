# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns: the rows that a search on one machine and a fleet have in common."""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select

from db.schema import CampaignState, CampaignTable, FleetTable
from db.session import StoreError

_TEXT_CHARS_MAX: Final = 4096


class NoCampaign(StoreError):
    """There is no campaign of that number."""


class NewCampaign(msgspec.Struct, frozen=True, kw_only=True):
    """What a campaign compares, from where it searches and until when.  Texts are one line each and not empty."""

    name: str
    old_spec: str
    new_spec: str
    profile: str
    seed_first: int
    model_version: str
    budget_seconds: float | None = None
    budget_programs: int | None = None
    strategies: tuple[str, ...] | None = None
    """Strategies, see fuzzer.schedule.schedulers; None for all there are."""


class CampaignRow(NewCampaign, frozen=True, kw_only=True):
    """A campaign as stored."""

    id: int
    created_at: datetime
    state: CampaignState


def insert_campaign(connection: Connection, now: datetime, campaign: NewCampaign) -> int:
    """Insert a running campaign and return its number.  Raises StoreError for texts that are not one short line."""
    values = msgspec.structs.asdict(campaign)
    one_line_texts(**{name: value for name, value in values.items() if isinstance(value, str)})
    stored = {**values, "created_at": now, "state": CampaignState.RUNNING.value}
    key = connection.execute(insert(CampaignTable).values(stored)).inserted_primary_key
    assert key is not None, "one row was inserted"
    return int(key[0])


def find_campaign(connection: Connection, campaign: int) -> CampaignRow:
    """The campaign of that number.  Raises NoCampaign if there is none."""
    row = connection.execute(select(CampaignTable).where(CampaignTable.id == campaign)).mappings().first()
    if row is None:
        raise NoCampaign(f"no campaign {campaign}")
    return msgspec.convert(dict(row), CampaignRow)


def check_campaign(connection: Connection, campaign: int) -> None:
    """Raise NoCampaign if there is none of that number."""
    if connection.execute(select(CampaignTable.id).where(CampaignTable.id == campaign)).first() is None:
        raise NoCampaign(f"no campaign {campaign}")


def lock_fleet(connection: Connection, campaign: int) -> None:
    """Wait for the lock of a campaign, see FleetTable."""
    connection.execute(select(FleetTable.campaign_id).where(FleetTable.campaign_id == campaign).with_for_update())


def one_line_texts(**texts: str) -> dict[str, str]:
    """The texts, which lists and terminals show: a control character in them could draw anything there."""
    for name, text in texts.items():
        if not text or len(text) > _TEXT_CHARS_MAX or not text.isprintable():
            raise StoreError(f"{name.replace('_', ' ')}: expected 1 to {_TEXT_CHARS_MAX} printable characters")
    return texts
