# SPDX-License-Identifier: GPL-2.0-only
"""The pages. Each is whole without JavaScript; htmx and the picture make it quicker to use."""

import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Form, Query, Request, Response, UploadFile
from fastapi import Path as UrlPath
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.concurrency import run_in_threadpool

from dashboard.access import COOKIE, Admin, Operator, Reader, check_origin, guard_of
from dashboard.changelog import (
    GROUPINGS,
    SIGNS,
    Grouping,
    catalogue,
    chapters,
    diff_of,
    labelled_details,
    state_counts,
)
from dashboard.filters import FindingFilters
from dashboard.following import followed
from dashboard.progress import progress
from dashboard.reasons import MEANING, reasons
from dashboard.replayed import replay_values, replayed, resampled
from dashboard.service import CAMPAIGNS_SHOWN, CampaignNumber, NotFound, Receipt, Services, Signature, service_of
from db.pace import pace
from db.schema import FindingState, HistoryEvent, Level, ReplayState
from fuzzer.change.listed_patch import whereabouts
from fuzzer.known_holes import HOLES, hole_of
from fuzzer.one_program import Searched
from fuzzer.program.words import program_words
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.trace_json import ReplayDocument
from fuzzer.tell.two_columns import headline
from reference_mmu.changelog.patches import PATCHES, SERIES

_RECENT: Final = 10

pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def _ago(then: datetime, now: datetime) -> str:
    """How long ago, to the largest unit: "12 s", "3 min", "5 h", "8 d"."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _lasting(seconds: float) -> str:
    """A time to go, "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _grouped(number: float) -> str:
    """12345 as "12 345"."""
    return f"{number:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


def _plain(text: str) -> str:
    """Markdown without its marks, for a sentence."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text).replace("`", "")


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ago"] = _ago
    environment.filters["grouped"] = _grouped
    environment.filters["lasting"] = _lasting
    environment.filters["plain"] = _plain
    environment.filters["query"] = urlencode
    environment.globals["PATCHES"] = PATCHES
    environment.globals["whereabouts"] = whereabouts
    return environment


_ENVIRONMENT: Final = _environment()


def read_templates() -> None:
    """Compile all of templates/, which are then kept."""
    for name in _ENVIRONMENT.list_templates():
        _ENVIRONMENT.get_template(name)


def render(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from templates/, which finds there who asks, for what and when, beside `values`."""
    values.setdefault("visitor", None)
    values["now"] = service_of(request).now()
    values["path"] = request.url.path
    values["is_open"] = guard_of(request).is_open
    return HTMLResponse(_ENVIRONMENT.get_template(template).render(values), status)


def part(template: str, **values: Any) -> str:
    """A part of a page from templates/, the same for everybody."""
    return _ENVIRONMENT.get_template(template).render(values)


def problem_page(request: Request, status: int, text: str, headers: dict[str, str]) -> Response:
    """What went wrong, as a page."""
    response = render(request, "problem.html", status, text=text, number=status)
    response.headers.update(headers)
    return response


@pages.get("/healthz")
def healthz(service: Services) -> Response:
    """For whoever starts and stops the container: 200 as long as the database answers."""
    service.tokens.by_digest("")
    return Response("ok\n", media_type="text/plain")


@pages.get("/")
def overview(request: Request, service: Services, visitor: Reader) -> Response:
    return render(
        request,
        "overview.html",
        visitor=visitor,
        overview=service.overview(),
        recent=service.store.findings(limit=_RECENT),
    )


@pages.get("/findings")
def findings(request: Request, service: Services, visitor: Reader, filters: FindingFilters) -> Response:
    page = filters.page(service)
    query = filters.query()
    return render(
        request,
        "findings.html",
        visitor=visitor,
        page=page,
        query=query,
        is_first=filters.cursor is None,
        following=urlencode({**query, "cursor": page.cursor}) if page.cursor else "",
        verdicts=service.listing.by_verdict(),
        names=service.listing.by_what(),
        patches=service.listing.by_patch(),
        holes=service.listing.by_hole(),
        states=list(FindingState),
        campaigns=service.store.campaigns(CAMPAIGNS_SHOWN),
    )


@pages.get("/findings/{campaign}/{signature}")
def finding(
    request: Request,
    service: Services,
    visitor: Reader,
    campaign: CampaignNumber,
    signature: Signature,
    chances: Literal["yes", ""] = "",
    look: Annotated[int, Query(ge=0, le=10**6)] = 0,
) -> Response:
    row = service.finding(campaign, signature)
    body = service.reproducer(row) if row.reproducer else b""
    told = replayed(service, body) if body else replay_values(None, None, "this finding has no reproducer")
    if not told["problem"]:
        told |= resampled(service, body, visitor.name, chances == "yes")
    became = followed(service, row)
    response = render(
        request,
        "finding.html",
        visitor=visitor,
        row=row,
        finding=row.finding,
        # The file knows what the columns do not: which documented effect a consequence follows from.
        after=told["reproducer"].finding.after if told["reproducer"] else row.finding.after,
        headline=headline(row.finding),
        meaning=MEANING[row.finding.verdict],
        hole=HOLES.get(row.known),
        reasons=reasons(row.finding),
        occurrences=service.store.occurrences(signature, campaign),
        forms=FORMS if row.reproducer else {},
        followed=became,
        comments=sum(one.event is HistoryEvent.COMMENT for one in became.history),
        states=list(FindingState),
        api=f"/api/v1/findings/{campaign}/{signature}",
        **told,
    )
    if told["chances_asked"] and not (told["chances"] or told["chances_problem"]):
        # Another address each time: a browser that is sent to where it is, fragment included, does not load it again.
        response.headers["Refresh"] = f"2; url=?chances=yes&look={look + 1}#interleaving"
    return response


@pages.get("/campaigns")
def campaigns(
    request: Request,
    service: Services,
    visitor: Reader,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> Response:
    rows = service.store.campaigns(CAMPAIGNS_SHOWN + 1, before)
    return render(
        request,
        "campaigns.html",
        visitor=visitor,
        campaigns=rows[:CAMPAIGNS_SHOWN],
        more=len(rows) > CAMPAIGNS_SHOWN,
        is_first=before is None,
    )


@pages.get("/campaigns/{campaign}")
def campaign(request: Request, service: Services, visitor: Reader, campaign: CampaignNumber) -> Response:
    row = service.campaign(campaign)
    fares, fleet = pace(service.engine, campaign), service.fleet(campaign)
    return render(
        request,
        "campaign.html",
        visitor=visitor,
        campaign=row,
        pace=fares,
        fleet=fleet,
        progress=progress(row, fares, fleet, service.now()),
        latest=fares.latest[:_RECENT],
        found=service.store.findings(campaign, limit=_RECENT),
    )


@pages.get("/changelog")
def changelog(
    request: Request, service: Services, visitor: Reader, by: Grouping = "series and architecture"
) -> Response:
    return render(
        request,
        "changelog.html",
        visitor=visitor,
        by=by,
        groupings=GROUPINGS,
        chapters=chapters(by),
        counts=state_counts(),
        signs=SIGNS,
        series=tuple(SERIES),
        numbers={number.name: number.findings for number in service.listing.by_patch()},
    )


@pages.get("/changelog/{patch}")
def commit(
    request: Request, service: Services, visitor: Reader, patch: Annotated[str, UrlPath(max_length=100)]
) -> Response:
    entry = next((entry for entry in catalogue() if entry.patch.id == patch), None)
    if entry is None:
        raise NotFound(f"no patch '{patch}'")
    numbers = {number.name: number.findings for number in service.listing.by_patch()}
    return render(
        request,
        "commit.html",
        visitor=visitor,
        entry=entry,
        details=labelled_details(entry),
        diff=diff_of(patch).splitlines(),
        findings=numbers.get(patch, 0),
    )


@pages.get("/replays")
def replays(request: Request, visitor: Reader) -> Response:
    return render(request, "replays.html", visitor=visitor)


@pages.post("/replays")
async def upload(request: Request, service: Services, visitor: Operator, file: UploadFile) -> Response:
    row = await run_in_threadpool(service.uploads.submit, await file.read(), visitor.name)
    return RedirectResponse(f"/replays/{row.id}", 303)


@pages.get("/replays/{receipt}")
def replay(request: Request, service: Services, visitor: Reader, receipt: Receipt) -> Response:
    row = service.replays.get(receipt)
    if row is None:
        raise NotFound(f"no replay {receipt}")
    encoded = service.replays.trace(receipt) if row.state is ReplayState.DONE else None
    trace = None if encoded is None else msgspec.json.decode(encoded, type=ReplayDocument)
    found = service.replays.report(receipt)
    report = None if found is None else msgspec.json.decode(found, type=Searched)
    shown = replay_values(trace.reproducer if trace else None, trace, "")
    if report is not None:
        shown["program"] = program_words(report.program)
    told = None if trace is None else trace.reproducer.finding
    response = render(
        request,
        "replay.html",
        visitor=visitor,
        row=row,
        finding=told,
        headline=headline(told) if told else "",
        reasons=reasons(told) if told else [],
        after=told.after if told else "",
        meaning=MEANING[told.verdict] if told else "",
        hole=HOLES.get(hole_of(trace.reproducer)) if trace else None,
        api=f"/api/v1/replays/{receipt}",
        report=report,
        known=[hole_of(one.reproducer) if one.reproducer else "" for one in report.shown] if report else [],
        **shown,
    )
    if row.state is ReplayState.WAITING:
        response.headers["Refresh"] = "1"
    return response


@pages.get("/tokens")
def tokens(request: Request, service: Services, visitor: Admin) -> Response:
    return render(request, "tokens.html", visitor=visitor, tokens=service.tokens.all(), made="")


@pages.post("/tokens")
def make_token(
    request: Request,
    service: Services,
    visitor: Admin,
    name: Annotated[str, Form(max_length=64)],
    level: Annotated[Level, Form()],
) -> Response:
    made = service.tokens.create(name, level)
    return render(request, "tokens.html", visitor=visitor, tokens=service.tokens.all(), made=made)


@pages.post("/tokens/{token}/revoke")
def revoke_token(
    request: Request, service: Services, visitor: Admin, token: Annotated[int, UrlPath(ge=1, le=2**63 - 1)]
) -> Response:
    service.tokens.revoke(token)
    return RedirectResponse("/tokens", 303)


@pages.get("/login")
def login(request: Request) -> Response:
    return render(request, "login.html", problem="")


@pages.post("/login")
def sign_in(request: Request, token: Annotated[str, Form(max_length=500)]) -> Response:
    check_origin(request)
    response = RedirectResponse("/", 303)
    if guard_of(request).sign_in(token.strip(), response, request.url.scheme == "https"):
        return response
    return render(request, "login.html", 401, problem="this token is not known, or was revoked")


@pages.post("/logout")
def sign_out(request: Request, visitor: Reader) -> Response:
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response
