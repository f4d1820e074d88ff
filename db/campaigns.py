# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns: the rows that a search on one machine and a fleet have in common."""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select

from db.schema import CampaignState, CampaignTable
from db.session import StoreError

_TEXT_CHARS_MAX: Final = 4096


class NoCampaign(StoreError):
    """There is no campaign of that number."""


class CampaignRow(msgspec.Struct, frozen=True):
    """A campaign as stored."""

    id: int
    name: str
    created_at: datetime
    old_spec: str
    new_spec: str
    profile: str
    seed_first: int
    budget_seconds: float | None
    budget_programs: int | None
    model_version: str
    state: CampaignState


def insert_campaign(
    connection: Connection,
    now: datetime,
    *,
    name: str,
    old_spec: str,
    new_spec: str,
    profile: str,
    seed_first: int,
    model_version: str,
    budget_seconds: float | None,
    budget_programs: int | None,
) -> int:
    """Insert a running campaign and return its number.  Raises StoreError for texts that are not one short line."""
    values = {
        **one_line_texts(name=name, old_spec=old_spec, new_spec=new_spec, profile=profile, model_version=model_version),
        "seed_first": seed_first,
        "budget_seconds": budget_seconds,
        "budget_programs": budget_programs,
        "created_at": now,
        "state": CampaignState.RUNNING.value,
    }
    key = connection.execute(insert(CampaignTable).values(values)).inserted_primary_key
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


def one_line_texts(**texts: str) -> dict[str, str]:
    """The texts, which lists and terminals show: a control character in them could draw anything there."""
    for name, text in texts.items():
        if not text or len(text) > _TEXT_CHARS_MAX or not text.isprintable():
            raise StoreError(f"{name.replace('_', ' ')}: expected 1 to {_TEXT_CHARS_MAX} printable characters")
    return texts
