# SPDX-License-Identifier: GPL-2.0-only
"""Starting, pausing, resuming and stopping campaigns, from the pages and by the API.

What may be asked of a new campaign is the business of workers.launch, as for `mmufuzz campaign create`.
"""

from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboard.access import CSRF_FIELD, Operator
from dashboard.api import PREFIX, RawBody, shows, takes
from dashboard.pages import render
from dashboard.service import CampaignNumber, Service, Services
from db.campaigns import CampaignRow
from db.session import StoreError
from fuzzer.profile import PROFILES
from reference_mmu.patches import PATCHES
from workers.launch import BadWish, Wish, launch, read_form, read_wish

_SUGGESTED: Final = {"old": "old", "new": "new", "profile": "mixed", "programs": "1000000"}
"""What the form begins with: some hours of a small machine."""

steering = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
steering_api = APIRouter(prefix=PREFIX)


class Action(StrEnum):
    """What can be done to a campaign."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


async def _fields(request: Request) -> dict[str, str]:
    form = await request.form()
    return {name: value for name, value in form.items() if isinstance(value, str) and name != CSRF_FIELD}


Fields = Annotated[dict[str, str], Depends(_fields)]


def steer(service: Service, campaign: int, action: Action) -> CampaignRow:
    """The campaign afterwards.  Raises NotFound, and StoreError if its state does not allow it."""
    service.campaign(campaign)
    match action:
        case Action.PAUSE:
            service.fleets.pause(campaign)
        case Action.RESUME:
            service.fleets.resume(campaign)
        case Action.STOP:
            service.fleets.stop(campaign)
    return service.campaign(campaign)


@steering.get("/campaigns/new")
def form(request: Request, visitor: Operator) -> Response:
    return _form(request, visitor, _SUGGESTED, "", 200)


@steering.post("/campaigns")
def start(request: Request, service: Services, visitor: Operator, fields: Fields) -> Response:
    try:
        number = launch(service.fleets, read_form(fields))
    except (BadWish, StoreError) as error:
        return _form(request, visitor, fields, str(error), 400)
    return RedirectResponse(f"/campaigns/{number}", 303)


@steering.post("/campaigns/{campaign}/{action}")
def steer_page(service: Services, visitor: Operator, campaign: CampaignNumber, action: Action) -> Response:
    steer(service, campaign, action)
    return RedirectResponse(f"/campaigns/{campaign}", 303)


def _form(request: Request, visitor: Any, fields: dict[str, str], problem: str, status: int) -> Response:
    return render(
        request,
        "new_campaign.html",
        status,
        visitor=visitor,
        fields=fields,
        problem=problem,
        profiles=list(PROFILES.values()),
        specs=["old", "new", *(f"old+{name}" for name in PATCHES), *(f"new-{name}" for name in PATCHES)],
    )


@steering_api.post("/campaigns", status_code=201, responses=shows(CampaignRow, 201), openapi_extra=takes(Wish))
def create_campaign(service: Services, visitor: Operator, body: RawBody) -> Response:
    """Start a campaign: workers of this model version begin at once. It needs at least one budget."""
    row = service.campaign(launch(service.fleets, read_wish(body)))
    headers = {"Location": f"{PREFIX}/campaigns/{row.id}"}
    return Response(msgspec.json.encode(row), 201, headers, "application/json")


@steering_api.post("/campaigns/{campaign}/{action}", responses=shows(CampaignRow))
def steer_campaign(service: Services, visitor: Operator, campaign: CampaignNumber, action: Action) -> Response:
    """Pause a running campaign, go on with a paused one, or stop one for good. What is being run will be stored."""
    return Response(msgspec.json.encode(steer(service, campaign, action)), media_type="application/json")
