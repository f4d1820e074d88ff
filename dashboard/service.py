# SPDX-License-Identifier: GPL-2.0-only
"""What the pages and the API have in common: the stores behind them, and how a request gets at them."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, NamedTuple

from fastapi import Depends, Path, Request
from sqlalchemy import Engine

from dashboard.health import Health, health
from dashboard.replaying import Replayer
from dashboard.uploads import Uploads
from db.campaigns import CampaignRow
from db.growth import Growth, growth
from db.listing import Listing
from db.replays import Replays
from db.store import FindingRow, Store
from db.tokens import Tokens

Signature = Annotated[str, Path(pattern=r"^[a-z0-9:+._-]{1,200}$")]
CampaignNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
Receipt = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class NotFound(Exception):
    """There is no such thing; the message is one line."""


class Service(NamedTuple):
    """Everything that a request may need."""

    engine: Engine
    store: Store
    listing: Listing
    tokens: Tokens
    replays: Replays
    replayer: Replayer
    uploads: Uploads
    now: Callable[[], datetime]

    def campaign(self, number: int) -> CampaignRow:
        """Raises NotFound."""
        for row in self.store.campaigns():
            if row.id == number:
                return row
        raise NotFound(f"no campaign {number}")

    def finding(self, campaign: int, signature: str) -> FindingRow:
        """Raises NotFound."""
        row = self.store.finding(signature, campaign)
        if row is None:
            raise NotFound(f"campaign {campaign} has no finding {signature}")
        return row

    def reproducer(self, campaign: int, signature: str) -> bytes:
        """The stored reproducer file.  Raises NotFound."""
        self.finding(campaign, signature)
        body = self.store.reproducer(signature, campaign)
        if body is None:
            raise NotFound("this finding has no reproducer")
        return body

    def health(self, campaign: CampaignRow) -> Health:
        return self.grown(campaign)[0]

    def grown(self, campaign: CampaignRow) -> tuple[Health, Growth]:
        """How it is, and how it came there."""
        told = growth(self.engine, campaign.id)
        return health(campaign, told, self.now()), told


def _service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Services = Annotated[Service, Depends(_service_of)]
