# SPDX-License-Identifier: GPL-2.0-only
"""What becomes of a finding: its history, and what people say about it, by forms of its page and by the API.

The same functions as `mmufuzz findings comment | state | merge | split | history`; who speaks is the token's name.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from dashboard.access import Operator, Reader, Visitor
from dashboard.answers import json_answer
from dashboard.api import PREFIX, RawBody, read_body, shows, takes
from dashboard.service import CampaignNumber, Service, Services, Signature
from db.history import Histories, HistoryRow, RecheckRow
from db.merges import MergeRow, Merges
from db.schema import FindingState
from db.store import FindingRow
from reference_mmu.record import Record

TEXT_CHARS_MAX: Final = 4096
"""Most characters of a note that the database takes; it is one line."""

following = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
following_api = APIRouter(prefix=f"{PREFIX}/findings/{{campaign}}/{{signature}}")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=TEXT_CHARS_MAX)]
_Field = Annotated[str, Form(min_length=1, max_length=TEXT_CHARS_MAX)]


class Following(Record):
    """What became of a finding: `history` the oldest first, `rechecks` by other model versions than the one that found
    it, the signature that it is merged `into`, if any, and those that are `merged` into it."""

    state: FindingState
    history: tuple[HistoryRow, ...]
    rechecks: tuple[RecheckRow, ...]
    into: str | None
    merged: tuple[MergeRow, ...]


class Comment(Record, forbid_unknown_fields=True):
    """Say something about a finding, in one line."""

    text: _Text


class Move(Record, forbid_unknown_fields=True):
    """Move a finding to another state; a recheck moves it on, but not from invalid."""

    state: FindingState
    why: _Text


class Merge(Record, forbid_unknown_fields=True):
    """Say that a finding is the same bug as another one, in every campaign: `into` is that one's signature."""

    into: _Text
    why: _Text


class Split(Record, forbid_unknown_fields=True):
    """Take a merge back: the finding stands for itself again."""

    why: _Text


Said = Comment | Move | Merge | Split


def followed(service: Service, row: FindingRow) -> Following:
    """What became of a finding."""
    histories, merges = Histories(service.engine), Merges(service.engine)
    return Following(
        row.state,
        tuple(histories.of(row.signature, row.campaign)),
        tuple(histories.rechecks(row.signature, row.campaign)),
        merges.target(row.signature),
        tuple(merges.into(row.signature)),
    )


def follow(service: Service, visitor: Visitor, campaign: int, signature: str, said: Said) -> None:
    """Do what is said about a finding.  Raises NotFound and StoreError."""
    service.finding(campaign, signature)
    histories, merges = Histories(service.engine, service.now), Merges(service.engine, service.now)
    match said:
        case Comment(text):
            histories.comment(signature, visitor.name, text, campaign)
        case Move(state, why):
            histories.move(signature, state, visitor.name, why, campaign)
        case Merge(into, why):
            merges.merge(signature, into, visitor.name, why)
        case Split(why):
            merges.split(signature, visitor.name, why)


_PAGE: Final = "/findings/{campaign}/{signature}"


@dataclass
class _Form:
    """A form on the page of a finding."""

    service: Services
    visitor: Operator
    campaign: CampaignNumber
    signature: Signature

    def says(self, said: Said) -> Response:
        """Do it, and show the page with what became of the finding."""
        follow(self.service, self.visitor, self.campaign, self.signature, said)
        return RedirectResponse(f"/findings/{self.campaign}/{self.signature}#history", 303)


_Filled = Annotated[_Form, Depends()]


@following.post(f"{_PAGE}/comment")
def comment_form(form: _Filled, text: _Field) -> Response:
    return form.says(Comment(text))


@following.post(f"{_PAGE}/state")
def state_form(form: _Filled, state: Annotated[FindingState, Form()], why: _Field) -> Response:
    return form.says(Move(state, why))


@following.post(f"{_PAGE}/merge")
def merge_form(form: _Filled, into: _Field, why: _Field) -> Response:
    return form.says(Merge(into.strip(), why))


@following.post(f"{_PAGE}/split")
def split_form(form: _Filled, why: _Field) -> Response:
    return form.says(Split(why))


@following_api.get("/history", responses=shows(Following))
def history(
    request: Request, service: Services, visitor: Reader, campaign: CampaignNumber, signature: Signature
) -> Response:
    """What became of a finding since it was found."""
    return json_answer(request, followed(service, service.finding(campaign, signature)))


def _takes(action: str, wish: type[Said]) -> None:
    """The address of the API that is sent such a wish, and answers with what has become of the finding."""

    @following_api.post(
        f"/{action}",
        name=action,
        description=wish.__doc__,
        responses=shows(Following),
        openapi_extra=takes(wish),
    )
    def said(
        service: Services, visitor: Operator, campaign: CampaignNumber, signature: Signature, body: RawBody
    ) -> Response:
        follow(service, visitor, campaign, signature, read_body(body, wish))
        became = followed(service, service.finding(campaign, signature))
        return Response(msgspec.json.encode(became), media_type="application/json")


for _action, _wish in (("comment", Comment), ("state", Move), ("merge", Merge), ("split", Split)):
    _takes(_action, _wish)
