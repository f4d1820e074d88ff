# SPDX-License-Identifier: GPL-2.0-only
"""What a program without a schedule showed: the report of its search, and each finding like any other."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse

from dashboard.access import Reader
from dashboard.answers import answer
from dashboard.api import FORM_ANSWERS, PREFIX, FormName, exported, shows
from dashboard.pages import render
from dashboard.reasons import MEANING, reasons
from dashboard.replayed import replayed
from dashboard.service import NotFound, Receipt, Service, Services
from fuzzer.known_holes import HOLES, hole_of
from fuzzer.one_program import Searched, ShownBug
from fuzzer.reproducer import Reproducer, encode_reproducer
from fuzzer.tell.export.forms import FORMS
from fuzzer.tell.export.trace_json import ReplayDocument
from fuzzer.tell.two_columns import headline

searched = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
searched_api = APIRouter(prefix=f"{PREFIX}/replays/{{receipt}}")

Place = Annotated[int, Path(ge=1, le=10_000)]
"""The number of a finding in its report; the worst is number 1."""


def _report(service: Service, receipt: str) -> bytes:
    """The report as it is stored. Raises NotFound."""
    encoded = service.replays.report(receipt)
    if encoded is None:
        raise NotFound("there is no report, or not yet")
    return encoded


def _shown(service: Service, receipt: str, place: int) -> tuple[ShownBug, Reproducer]:
    """Raises NotFound."""
    shown = msgspec.json.decode(_report(service, receipt), type=Searched).shown[place - 1 : place]
    if not shown or shown[0].reproducer is None:
        raise NotFound(f"its report has no finding {place} with a reproducer")
    return shown[0], shown[0].reproducer


@searched_api.get("/report", responses=shows(Searched))
def report(request: Request, service: Services, visitor: Reader, receipt: Receipt) -> Response:
    """What the search with an uploaded program came to, also if it showed nothing."""
    return answer(request, _report(service, receipt), "application/json")


@searched_api.get("/findings/{place}/trace", responses=shows(ReplayDocument))
def shown_trace(request: Request, service: Services, visitor: Reader, receipt: Receipt, place: Place) -> Response:
    """A finding of the report, replayed: every step with the state of both models."""
    _, reproducer = _shown(service, receipt, place)
    return answer(request, service.replayer.encoded_trace(encode_reproducer(reproducer)), "application/json")


@searched_api.get("/findings/{place}/exports/{form}", responses=FORM_ANSWERS)
def shown_export(
    request: Request, service: Services, visitor: Reader, receipt: Receipt, place: Place, form: FormName
) -> Response:
    """The reproducer of a finding of the report, in any form."""
    shown, reproducer = _shown(service, receipt, place)
    return exported(request, service, encode_reproducer(reproducer), shown.signature, form)


@searched.get("/replays/{receipt}/findings/{place}")
def shown_page(request: Request, service: Services, visitor: Reader, receipt: Receipt, place: Place) -> Response:
    shown, reproducer = _shown(service, receipt, place)
    return render(
        request,
        "shown.html",
        visitor=visitor,
        receipt=receipt,
        finding=shown.finding,
        signature=shown.signature,
        after=shown.finding.after,
        headline=headline(shown.finding),
        reasons=reasons(shown.finding),
        meaning=MEANING[shown.finding.verdict],
        hole=HOLES.get(hole_of(reproducer)),
        forms=FORMS,
        api=f"{PREFIX}/replays/{receipt}/findings/{place}",
        **replayed(service, encode_reproducer(reproducer)),
    )
