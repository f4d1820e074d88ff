# SPDX-License-Identifier: GPL-2.0-only
"""The JSON API, /api/v1: everything the pages show and do, for programs.  Its OpenAPI is at /api/v1/openapi.json."""

from typing import Annotated, Any, Final, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response

from dashboard.access import Admin, Operator, Reader
from dashboard.answers import answer, json_answer, streamed
from dashboard.changelog import Commit, catalogue, diff_of
from dashboard.downloads import CAMPAIGN_FINDINGS_MAX, file_name, findings_csv, findings_zip
from dashboard.filters import FindingFilters
from dashboard.health import Health, health
from dashboard.reasons import Reason, reasons
from dashboard.service import CAMPAIGNS_SHOWN, CampaignNumber, NotFound, Receipt, Service, Services, Signature
from db.campaigns import CampaignRow
from db.fleets import FleetPlan
from db.growth import Growth, growth
from db.listing import PAGE_MAX, FindingsPage, Number
from db.pace import pace
from db.replays import ReplayRow
from db.schema import Level
from db.store import FindingRow, Totals
from db.tokens import Token
from fuzzer.change.listed_patch import ListedPatch
from fuzzer.judge.finding import Occurrence
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.trace_json import ReplayDocument
from fuzzer.tell.inevitable import Chances
from reference_mmu.record import Record

PREFIX: Final = "/api/v1"
api = APIRouter(prefix=PREFIX)
schemas: Final[dict[str, type]] = {}
"""What the answers hold, by the name under which OpenAPI describes it."""


class Problem(Record):
    """Why there is no answer, in one line."""

    error: str


class Me(Record):
    """Whose token this is."""

    name: str
    level: Level


class Campaigns(Record):
    """Some campaigns; `before` asks for the next ones, null on the last page."""

    campaigns: tuple[CampaignRow, ...]
    before: int | None


class CampaignAnswer(Record):
    """A campaign; `plan` is null of a search by one 'mmufuzz run'."""

    campaign: CampaignRow
    totals: Totals
    health: Health
    plan: FleetPlan | None


class FindingAnswer(Record):
    """A finding, why it is judged so, the first batches that showed it, and the forms its reproducer can be had in.
    `known` is that of the finding."""

    finding: FindingRow
    reasons: tuple[Reason, ...]
    occurrences: tuple[Occurrence, ...]
    exports: tuple[str, ...]
    known: str


class Names(Record):
    names: tuple[Number, ...]


class Catalogue(Record):
    commits: tuple[Commit, ...]


class CommitAnswer(Record):
    commit: ListedPatch
    diff: str


class Tokens(Record):
    tokens: tuple[Token, ...]


class NewToken(Record):
    """The token is told this once."""

    name: str
    level: Level
    token: str


class TokenWish(Record, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    level: Level


class BadBody(Exception):
    """The body of a request is not what it should be; the message is one line."""


def shows(content: type, status: int = 200, media_type: str = "application/json") -> Any:
    """What a route answers with, for OpenAPI."""
    schemas[content.__name__] = content
    refers = {"$ref": f"#/components/schemas/{content.__name__}"}
    return {status: {"description": content.__name__, "content": {media_type: {"schema": refers}}}, **_PROBLEMS}


def tells(content: type) -> Any:
    """What the events of a route hold, for OpenAPI."""
    return shows(content, media_type="text/event-stream")


_Wish = TypeVar("_Wish")


def read_body(body: bytes, wish: type[_Wish]) -> _Wish:
    """What was sent, decoded.  Raises BadBody."""
    try:
        return msgspec.json.decode(body, type=wish)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(str(error)) from error


async def _body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_body)]
"""The body as it was sent: it is decoded by whoever knows the format, or by a child process."""


def _takes(schema: dict[str, str]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def takes(content: type) -> dict[str, Any]:
    """What a route wants to be sent, for OpenAPI."""
    schemas[content.__name__] = content
    return _takes({"$ref": f"#/components/schemas/{content.__name__}"})


def _file(*media_types: str) -> Any:
    anything = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"description": "a file", "content": dict.fromkeys(media_types, anything)}, **_PROBLEMS}


_PROBLEM: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PROBLEMS: Final[dict[int | str, Any]] = {
    400: {"description": "what was sent makes no sense", "content": _PROBLEM},
    401: {"description": "no valid token", "content": _PROBLEM},
    403: {"description": "the token's level is too low", "content": _PROBLEM},
    404: {"description": "there is no such thing", "content": _PROBLEM},
    413: {"description": "more than may be sent"},
    422: {"description": "a parameter is not what it should be", "content": _PROBLEM},
    429: {"description": "too many requests"},
    503: {"description": "the database is away", "content": _PROBLEM},
}
_LATER: Final[dict[int | str, Any]] = {
    202: {
        "description": "being found out; ask again",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
schemas["Problem"] = Problem


@api.get("/me", responses=shows(Me))
def me(request: Request, visitor: Reader) -> Response:
    """Name and level of the token."""
    return json_answer(request, Me(visitor.name, visitor.level))


@api.get("/campaigns", responses=shows(Campaigns))
def campaigns(
    request: Request,
    service: Services,
    visitor: Reader,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = CAMPAIGNS_SHOWN,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    """Campaigns, newest first: those with a lower number than `before`."""
    rows = service.store.campaigns(limit + 1, before)
    shown = tuple(rows[:limit])
    return json_answer(request, Campaigns(shown, shown[-1].id if len(rows) > limit else None))


@api.get("/campaigns/{campaign}", responses=shows(CampaignAnswer))
def campaign(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """One campaign: what its batches add up to, and whether it is working."""
    row = service.campaign(campaign)
    told, fleet = health(row, pace(service.engine, campaign), service.now()), service.fleet(campaign)
    return json_answer(
        request, CampaignAnswer(row, service.store.totals(campaign), told, fleet.plan if fleet else None)
    )


@api.get("/campaigns/{campaign}/growth", responses=shows(Growth))
def campaign_growth(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """Programs, steps and coverage over time."""
    service.campaign(campaign)
    return json_answer(request, growth(service.engine, campaign))


@api.get("/campaigns/{campaign}/findings.csv", responses=_file("text/csv"))
def campaign_csv(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """All findings of a campaign as CSV, the most severe first."""
    service.campaign(campaign)
    rows = service.store.findings(campaign, limit=CAMPAIGN_FINDINGS_MAX)
    return answer(request, findings_csv(rows), "text/csv", f"findings-{campaign}.csv")


@api.get("/campaigns/{campaign}/findings.zip", responses=_file("application/zip"))
def campaign_zip(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    """All findings of a campaign with their reproducers. Of such files only a few are sent at a time, else the answer
    is 429."""
    service.campaign(campaign)
    rows = service.store.findings(campaign, limit=CAMPAIGN_FINDINGS_MAX)
    pieces = findings_zip(service.store, campaign, rows)
    return streamed(request, rows, pieces, "application/zip", f"findings-{campaign}.zip")


@api.get("/findings", responses=shows(FindingsPage))
def findings(request: Request, service: Services, visitor: Reader, filters: FindingFilters) -> Response:
    """Findings, filtered and sorted; the answer's cursor asks for the next page."""
    return json_answer(request, filters.page(service))


@api.get("/findings/{campaign}/{signature}", responses=shows(FindingAnswer))
def finding(
    request: Request, service: Services, visitor: Reader, campaign: CampaignNumber, signature: Signature
) -> Response:
    """One finding."""
    row = service.finding(campaign, signature)
    seen = (msgspec.structs.replace(one, reproducer=None) for one in service.store.occurrences(signature, campaign))
    forms = tuple(FORMS) if row.reproducer else ()
    return json_answer(request, FindingAnswer(row, tuple(reasons(row.finding)), tuple(seen), forms, row.known))


@api.get("/findings/{campaign}/{signature}/trace", responses=shows(ReplayDocument))
def finding_trace(
    request: Request, service: Services, visitor: Reader, campaign: CampaignNumber, signature: Signature
) -> Response:
    """Its reproducer, replayed: every step with the state of both models."""
    encoded = service.replayer.encoded_trace(service.reproducer(service.finding(campaign, signature)))
    return answer(request, encoded, "application/json")


@api.get("/findings/{campaign}/{signature}/chances", responses=shows(Chances) | _LATER)
def finding_chances(
    request: Request, service: Services, visitor: Reader, campaign: CampaignNumber, signature: Signature
) -> Response:
    """Where it became inevitable. It takes some seconds to find out: until then the answer is 202, ask again. Of what
    waits to be found out a token has a few at a time, else the answer is 429."""
    told = service.resampling.ask(service.reproducer(service.finding(campaign, signature)), visitor.name)
    if told is None:
        return Response(b"{}", 202, {"Retry-After": "2"}, "application/json")
    return json_answer(request, told)


FORM_ANSWERS: Final = _file(*sorted({form.media_type for form in FORMS.values()}))
FormName = Annotated[str, Path(max_length=32)]


@api.get("/findings/{campaign}/{signature}/exports/{form}", responses=FORM_ANSWERS)
def finding_export(
    request: Request,
    service: Services,
    visitor: Reader,
    campaign: CampaignNumber,
    signature: Signature,
    form: FormName,
) -> Response:
    """Its reproducer in another form; the first lines say how to replay the file."""
    return exported(request, service, service.reproducer(service.finding(campaign, signature)), signature, form)


def exported(request: Request, service: Service, body: bytes, signature: str, form: str) -> Response:
    """A reproducer file in any form.  Raises NotFound, ReplayFailed and TooManyWaiting."""
    if form not in FORMS:
        raise NotFound(f"no form '{form}'; there are {', '.join(FORMS)}")
    if form != "reproducer":
        body = FORMS[form].write(service.replayer.trace(body))
    name = file_name(signature, FORMS[form].suffix)
    return answer(request, body, FORMS[form].media_type, f"test_{name.replace('-', '_')}" if form == "pytest" else name)


@api.get("/names", responses=shows(Names))
def names(request: Request, service: Services, visitor: Reader) -> Response:
    """Every invariant and effect that was found, and how often."""
    return json_answer(request, Names(tuple(service.listing.by_what())))


@api.get("/patches", responses=shows(Catalogue))
def patches(request: Request, service: Services, visitor: Reader) -> Response:
    """The catalogue: every commit, and how many findings are attributed to it."""
    numbers = {number.name: number.findings for number in service.listing.by_patch()}
    return json_answer(
        request, Catalogue(tuple(Commit(entry, numbers.get(entry.patch.id, 0)) for entry in catalogue()))
    )


@api.get("/patches/{patch}", responses=shows(CommitAnswer))
def patch(
    request: Request, service: Services, visitor: Reader, patch: Annotated[str, Path(max_length=100)]
) -> Response:
    """One commit, and what it changes as a diff of the model."""
    for entry in catalogue():
        if entry.patch.id == patch:
            return json_answer(request, CommitAnswer(entry, diff_of(patch)))
    raise NotFound(f"no patch '{patch}'")


@api.post("/replays", status_code=202, responses=shows(ReplayRow, 202), openapi_extra=_takes({"type": "object"}))
def upload(
    request: Request,
    service: Services,
    visitor: Operator,
    body: RawBody,
) -> Response:
    """Upload a reproducer, any export of one, or a bare program, which is run under many schedules. The answer is a
    receipt: ask for /replays/ID until it is done, then for its /trace, or of a program for its /report."""
    row = service.uploads.submit(body, visitor.name)
    headers = {"Location": f"{PREFIX}/replays/{row.id}"}
    return Response(msgspec.json.encode(row), 202, headers, "application/json")


@api.get("/replays/{receipt}", responses=shows(ReplayRow))
def replay(request: Request, service: Services, visitor: Reader, receipt: Receipt) -> Response:
    """How far an upload is; `error` says why there is no trace."""
    row = service.replays.get(receipt)
    if row is None:
        raise NotFound(f"no replay {receipt}")
    return json_answer(request, row)


@api.get("/replays/{receipt}/trace", responses=shows(ReplayDocument))
def replay_trace(request: Request, service: Services, visitor: Reader, receipt: Receipt) -> Response:
    """What the replay gave; its `recheck` says whether the finding shows, also if it does not."""
    encoded = service.replays.trace(receipt)
    if encoded is None:
        raise NotFound("there is no trace, or not yet")
    return answer(request, encoded, "application/json")


@api.get("/tokens", responses=shows(Tokens))
def tokens(request: Request, service: Services, visitor: Admin) -> Response:
    """Every token there is or was, by digest."""
    return json_answer(request, Tokens(tuple(service.tokens.all())))


@api.post("/tokens", status_code=201, responses=shows(NewToken, 201), openapi_extra=takes(TokenWish))
def create_token(
    request: Request,
    service: Services,
    visitor: Admin,
    body: RawBody,
) -> Response:
    """Make a token. It is told this once."""
    wish = read_body(body, TokenWish)
    made = NewToken(wish.name, wish.level, service.tokens.create(wish.name, wish.level))
    return Response(msgspec.json.encode(made), 201, media_type="application/json")


@api.delete("/tokens/{token}", status_code=204, responses={204: {"description": "revoked"}, **_PROBLEMS})
def revoke_token(
    request: Request, service: Services, visitor: Admin, token: Annotated[int, Path(ge=1, le=2**63 - 1)]
) -> Response:
    """Revoke a token, and every session that was started with it."""
    service.tokens.revoke(token)
    return Response(status_code=204)


def openapi_components() -> dict[str, Any]:
    """JSON Schemas of everything the API answers with."""
    _, components = msgspec.json.schema_components(list(schemas.values()), ref_template="#/components/schemas/{name}")
    return components
