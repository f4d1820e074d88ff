# SPDX-License-Identifier: GPL-2.0-only
"""Starting, pausing, resuming and stopping campaigns, from the pages and by the API.

What may be asked of a new campaign is the business of workers.launch, as for `mmufuzz campaign create`.
"""

import secrets
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Form, Header, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboard.access import CSRF_FIELD, Operator, Visitor
from dashboard.api import PREFIX, RawBody, shows, takes
from dashboard.pages import render
from dashboard.service import CampaignNumber, Service, Services
from db.campaigns import CampaignRow
from db.session import StoreError
from fuzzer.program.profile import PROFILES
from fuzzer.schedule.schedulers import STRATEGY_WORDS
from reference_mmu.changelog.patches import PATCHES, can_be_cause
from reference_mmu.changelog.semantics import BASES, base_of
from workers.launch import BATCH_PROGRAMS, MEMORY_MIB_MIN, BadWish, Wish, launch, read_form, read_wish

_CAUSES: Final = [name for name in PATCHES if can_be_cause(name)]
_SUGGESTED: Final = {"old": "old", "new": "new", "profile": "mixed", "programs": "1000000"}
"""Values that the form begins with: some hours of a small machine."""
_KEY_FIELD: Final = "key"
_KEY_CHARS_MAX: Final = 200

steering = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
steering_api = APIRouter(prefix=PREFIX)


class Action(StrEnum):
    """What can be done to a campaign."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"


async def _fields(request: Request) -> dict[str, str | list[str]]:
    form = await request.form()
    fields: dict[str, str | list[str]] = {
        name: value for name, value in form.items() if isinstance(value, str) and name not in (CSRF_FIELD, _KEY_FIELD)
    }
    return fields | {"strategies": [value for value in form.getlist("strategies") if isinstance(value, str)]}


Fields = Annotated[dict[str, str | list[str]], Depends(_fields)]
FormKey = Annotated[str, Form(alias=_KEY_FIELD, max_length=_KEY_CHARS_MAX)]
"""A key that is made anew whenever the form is loaded: sent twice, as by a double click, it starts one campaign."""
Key = Annotated[str, Header(alias="Idempotency-Key", max_length=_KEY_CHARS_MAX)]


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


def start(service: Service, visitor: Visitor, wish: Wish, key: str) -> int:
    """The number of the campaign that this visitor wished for by this key, "" for none.  Raises BadWish, StoreError."""
    return launch(service.fleets, wish, f"{visitor.name}\n{key}" if key else None)


@steering.get("/campaigns/new")
def form(request: Request, visitor: Operator) -> Response:
    return _form(request, visitor, _SUGGESTED, secrets.token_urlsafe(16), "", 200)


@steering.post("/campaigns")
def start_page(request: Request, service: Services, visitor: Operator, fields: Fields, key: FormKey = "") -> Response:
    try:
        number = start(service, visitor, read_form(fields), key)
    except (BadWish, StoreError) as error:
        return _form(request, visitor, fields, key, str(error), 400)
    return RedirectResponse(f"/campaigns/{number}", 303)


@steering.post("/campaigns/{campaign}/{action}")
def steer_page(service: Services, visitor: Operator, campaign: CampaignNumber, action: Action) -> Response:
    steer(service, campaign, action)
    return RedirectResponse(f"/campaigns/{campaign}", 303)


def _form(
    request: Request, visitor: Visitor, fields: Mapping[str, str | list[str]], key: str, problem: str, status: int
) -> Response:
    return render(
        request,
        "new_campaign.html",
        status,
        visitor=visitor,
        fields=fields,
        key=key,
        problem=problem,
        profiles=list(PROFILES.values()),
        strategies=list(STRATEGY_WORDS.items()),
        memory_mib_min=MEMORY_MIB_MIN,
        batch_programs=BATCH_PROGRAMS,
        specs=[
            *BASES,
            *(f"{base_of(name).spec()}+{name}" for name in _CAUSES),
            *(f"new-{name}" for name in _CAUSES),
        ],
    )


@steering_api.post("/campaigns", status_code=201, responses=shows(CampaignRow, 201), openapi_extra=takes(Wish))
def create_campaign(service: Services, visitor: Operator, body: RawBody, key: Key = "") -> Response:
    """Start a campaign: workers of this model version begin at once. It needs at least one budget. Sent again with the
    same Idempotency-Key and the same wish by the same token, it starts no other and answers with the first."""
    row = service.campaign(start(service, visitor, read_wish(body), key))
    headers = {"Location": f"{PREFIX}/campaigns/{row.id}"}
    return Response(msgspec.json.encode(row), 201, headers, "application/json")


@steering_api.post("/campaigns/{campaign}/{action}", responses=shows(CampaignRow))
def steer_campaign(service: Services, visitor: Operator, campaign: CampaignNumber, action: Action) -> Response:
    """Pause a running campaign, go on with a paused one, or stop one for good. What is being run will be stored."""
    return Response(msgspec.json.encode(steer(service, campaign, action)), media_type="application/json")
