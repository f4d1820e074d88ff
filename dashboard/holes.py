# SPDX-License-Identifier: GPL-2.0-only
"""The known holes: what is wrong in the kernel's own code, by name, and how many findings are each."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from dashboard.access import Reader
from dashboard.answers import json_answer
from dashboard.api import PREFIX, shows
from dashboard.pages import render
from dashboard.service import Services
from fuzzer.known_holes import HOLES
from reference_mmu.record import Record

holes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
holes_api = APIRouter(prefix=PREFIX)


class ListedHole(Record):
    """A known hole. Texts are Markdown: what is wrong, which kernels have it, how to see it, what mainline did."""

    id: str
    arch: str
    title: str
    kernels: str
    see: str
    mainline: str
    findings: int


class Holes(Record):
    holes: tuple[ListedHole, ...]


def _listed(service: Services) -> tuple[ListedHole, ...]:
    found = {number.name: number.findings for number in service.listing.by_hole()}
    return tuple(
        ListedHole(one.id, one.arch, one.title, one.kernels, one.see, one.mainline, found.get(one.id, 0))
        for one in HOLES.values()
    )


@holes.get("/holes")
def holes_page(request: Request, service: Services, visitor: Reader) -> Response:
    return render(request, "holes.html", visitor=visitor, holes=_listed(service))


@holes_api.get("/holes", responses=shows(Holes))
def known_holes(request: Request, service: Services, visitor: Reader) -> Response:
    """Every known hole, as docs/findings.md tells of them, and how many findings are it."""
    return json_answer(request, Holes(_listed(service)))
