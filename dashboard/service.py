# SPDX-License-Identifier: GPL-2.0-only
"""What the pages and the API have in common: the stores behind them, and how a request gets at them."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Path, Request
from sqlalchemy import Engine

from dashboard.progress import CampaignProgress, Overview, progress
from dashboard.replaying import Replayer
from dashboard.resampling import Resampling
from dashboard.uploads import Uploads
from db.campaigns import CampaignRow, NoCampaign
from db.fleets import Fleets, FleetStatus, NoFleet
from db.listing import Listing
from db.liveness import workers
from db.pace import pace
from db.replays import Replays
from db.schema import CampaignState
from db.store import FindingRow, Store
from db.tokens import Tokens

Signature = Annotated[str, Path(pattern=r"^[a-z0-9:+._-]{1,200}$")]
CAMPAIGNS_SHOWN: Final = 100
CampaignNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]
Receipt = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


class NotFound(Exception):
    """There is no such thing; the message is one line."""


class Service(NamedTuple):
    """Everything that a request may need."""

    engine: Engine
    store: Store
    fleets: Fleets
    listing: Listing
    tokens: Tokens
    replays: Replays
    replayer: Replayer
    uploads: Uploads
    resampling: Resampling
    now: Callable[[], datetime]

    def campaign(self, number: int) -> CampaignRow:
        """Raises NotFound."""
        try:
            return self.store.campaign(number)
        except NoCampaign as error:
            raise NotFound(str(error)) from error

    def finding(self, campaign: int, signature: str) -> FindingRow:
        """Raises NotFound."""
        row = self.store.finding(signature, campaign)
        if row is None:
            raise NotFound(f"campaign {campaign} has no finding {signature}")
        return row

    def reproducer(self, row: FindingRow) -> bytes:
        """The stored reproducer file of a finding.  Raises NotFound."""
        body = self.store.reproducer(row.signature, row.campaign)
        if body is None:
            raise NotFound("this finding has no reproducer")
        return body

    def fleet(self, campaign: int) -> FleetStatus | None:
        """What its workers are at; None of a search by one 'mmufuzz run'."""
        try:
            return self.fleets.status(campaign)
        except NoFleet:
            return None

    def progress(self, campaign: CampaignRow) -> CampaignProgress:
        """How far a campaign is."""
        return progress(campaign, pace(self.engine, campaign.id), self.fleet(campaign.id), self.now())

    def overview(self) -> Overview:
        """Everything at a glance."""
        running = self.store.campaigns(state=CampaignState.RUNNING)
        shown = (running or self.store.campaigns(limit=1))[:1]
        live = workers(self.engine, self.now)
        return Overview(
            progress=self.progress(shown[0]) if shown else None,
            running=len(running),
            workers=len(live),
            slots=sum(worker.slots for worker in live),
            verdicts=tuple(self.listing.by_verdict()),
        )


def service_of(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


Services = Annotated[Service, Depends(service_of)]
