# SPDX-License-Identifier: GPL-2.0-only
"""The workers: where they are, whether they are alive, and what they run now."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from dashboard.access import Reader
from dashboard.answers import json_answer
from dashboard.api import PREFIX, shows
from dashboard.pages import render
from dashboard.service import Services
from db.condition import backlog
from db.roster import Rostered, roster
from reference_mmu.record import Record
from reference_mmu.version import model_version

workforce = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
workforce_api = APIRouter(prefix=PREFIX)


class Workers(Record):
    """The live ones first. `model_version` is this server's: campaigns that it starts have it."""

    model_version: str
    workers: tuple[Rostered, ...]


@workforce.get("/workers")
def workers_page(request: Request, service: Services, visitor: Reader) -> Response:
    found = roster(service.engine, service.now())
    live = {one.worker.model_version for one in found if one.is_alive}
    return render(
        request,
        "workers.html",
        visitor=visitor,
        workers=found,
        model=model_version(),
        waiting=[one for one in backlog(service.engine).running if one[1] not in live],
    )


@workforce_api.get("/workers", responses=shows(Workers))
def workers(request: Request, service: Services, visitor: Reader) -> Response:
    """Every worker that is alive, and those that fell silent within a week, with the tasks that each has begun."""
    return json_answer(request, Workers(model_version(), tuple(roster(service.engine, service.now()))))
