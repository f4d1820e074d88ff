# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns: the rows that a search on one machine and a fleet have in common."""

from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, insert, select

from db.schema import CampaignState, CampaignTable, FleetTable
from db.session import StoreError
from fuzzer.search_spec import SearchSpec
from reference_mmu.record import Record
from reference_mmu.version import model_version

_TEXT_CHARS_MAX: Final = 4096


class NoCampaign(StoreError):
    """There is no campaign of that number."""


class NewCampaign(Record, kw_only=True):
    """What a campaign compares, from where it searches and until when, as columns; `search` says the first of these
    as everybody else does.  Texts are one line each and not empty."""

    name: str
    old_spec: str
    new_spec: str
    profile: str
    seed_first: int
    model_version: str
    budget_seconds: float | None = None
    budget_programs: int | None = None
    strategies: tuple[str, ...] | None = None

    @property
    def search(self) -> SearchSpec:
        """What it searches."""
        return SearchSpec(
            old=self.old_spec,
            new=self.new_spec,
            profile=self.profile,
            seed=self.seed_first,
            strategies=self.strategies,
        )


def new_campaign(
    search: SearchSpec, *, name: str, budget_seconds: float | None = None, budget_programs: int | None = None
) -> NewCampaign:
    """A campaign that searches this with the model of this process."""
    return NewCampaign(
        name=name,
        old_spec=search.old,
        new_spec=search.new,
        profile=search.profile,
        seed_first=search.seed,
        model_version=model_version(),
        budget_seconds=budget_seconds,
        budget_programs=budget_programs,
        strategies=search.strategies,
    )


class CampaignRow(NewCampaign, kw_only=True):
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
