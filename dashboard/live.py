# SPDX-License-Identifier: GPL-2.0-only
"""Live progress: as JSON for programs, as a part of the page for browsers, both as a stream of events."""

from collections.abc import Callable

import msgspec
from fastapi import APIRouter, Request, Response

from dashboard.access import NotSignedIn, Reader, guard_of
from dashboard.answers import json_answer
from dashboard.api import PREFIX, shows, tells
from dashboard.pages import part
from dashboard.progress import CampaignProgress, Overview, has_ended
from dashboard.service import CampaignNumber, NotFound, Services
from dashboard.snapshots import Snapshots
from dashboard.streams import StreamEvent, Streams
from db.session import StoreError

live = APIRouter(include_in_schema=False)
live_api = APIRouter(prefix=PREFIX)


@live_api.get("/overview", responses=shows(Overview))
def overview(request: Request, service: Services, visitor: Reader) -> Response:
    """What the search is at: is it running, how fast, does it still find anything?"""
    return json_answer(request, service.overview())


@live_api.get("/campaigns/{campaign}/progress", responses=shows(CampaignProgress))
def campaign_progress(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """How far a campaign is, what it found, and when it will have ended."""
    return json_answer(request, service.progress(service.campaign(campaign)))


@live_api.get("/overview/events", responses=tells(Overview))
def overview_events(request: Request, service: Services, visitor: Reader) -> Response:
    """The overview whenever it changed, as event `progress`."""
    return _stream(request, "overview", lambda: StreamEvent(_json(service.overview()), False))


@live_api.get("/campaigns/{campaign}/events", responses=tells(CampaignProgress))
def campaign_events(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """The progress of a campaign whenever it changed, as event `progress`; then `end` when the campaign has ended."""
    service.campaign(campaign)

    def tell() -> StreamEvent:
        told = service.progress(service.campaign(campaign))
        return StreamEvent(_json(told), has_ended(told))

    return _stream(request, f"campaign {campaign}", tell)


@live.get("/events")
def overview_parts(request: Request, service: Services, visitor: Reader) -> Response:
    def tell() -> StreamEvent:
        return StreamEvent(part("_overview.html", now=service.now(), overview=service.overview()), False)

    return _stream(request, "overview part", tell)


@live.get("/campaigns/{campaign}/events")
def campaign_parts(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    service.campaign(campaign)

    def tell() -> StreamEvent:
        told = service.progress(service.campaign(campaign))
        return StreamEvent(part("_progress.html", now=service.now(), progress=told), has_ended(told))

    return _stream(request, f"campaign part {campaign}", tell)


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()


def _stream(request: Request, key: str, tell: Callable[[], StreamEvent]) -> Response:
    """A stream of events that all listeners share; it ends for this one when its token is revoked."""
    streams, snapshots = request.app.state.streams, request.app.state.snapshots
    assert isinstance(streams, Streams)
    assert isinstance(snapshots, Snapshots)

    def tell_listener() -> StreamEvent:
        try:
            guard_of(request).visitor(request)
            told = snapshots.get(key, tell)
            assert isinstance(told, StreamEvent)
        except (NotSignedIn, NotFound):
            return StreamEvent(None, True)
        except StoreError:
            return StreamEvent(None, False)  # the database may come back
        return told

    return streams.stream(request, tell_listener)
