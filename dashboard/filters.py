# SPDX-License-Identifier: GPL-2.0-only
"""The query string of a list of findings.  An empty value, as a form sends it, is one that was not given."""

from datetime import timedelta
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query
from pydantic import BeforeValidator, Field

from dashboard.service import Services
from db.listing import PAGE_MAX, FindingsPage, Sort, Wanted
from db.schema import FindingState
from fuzzer.judge.finding import Verdict


def _none_if_empty(value: Any) -> Any:
    return None if value == "" else value


_Optional = BeforeValidator(_none_if_empty)
_Text = Annotated[Annotated[str, Field(max_length=200)] | None, _Optional]
_Cursor = Annotated[Annotated[str, Field(max_length=1000)] | None, _Optional]
_Number = Annotated[Annotated[int, Field(ge=1, le=2**63 - 1)] | None, _Optional]
_Days = Annotated[Annotated[float, Field(gt=0, le=36_500)] | None, _Optional]


class Filters(NamedTuple):
    """What the list shows, and in which order."""

    wanted: Wanted
    sort: Sort
    limit: int
    cursor: str | None
    days: float | None

    def page(self, service: Services) -> FindingsPage:
        return service.listing.page(self.wanted, self.sort, self.limit, self.cursor)

    def query(self) -> dict[str, str]:
        """The query string again, without the cursor."""
        wanted = self.wanted
        values: dict[str, Any] = {
            "verdict": wanted.verdict,
            "patch": wanted.patch,
            "what": wanted.what,
            "state": wanted.state,
            "campaign": wanted.campaign,
            "days": None if self.days is None else f"{self.days:g}",
            "text": wanted.text,
            "known": wanted.known,
            "sort": None if self.sort == "severity" else self.sort,
        }
        return {name: str(value) for name, value in values.items() if value not in (None, "")}


def _filters(
    service: Services,
    verdict: Annotated[Verdict | None, _Optional] = None,
    patch: _Text = None,
    what: _Text = None,
    state: Annotated[FindingState | None, _Optional] = None,
    campaign: _Number = None,
    days: _Days = None,
    text: _Text = None,
    known: _Text = None,
    sort: Sort = "severity",
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 50,
    cursor: _Cursor = None,
) -> Filters:
    since = None if days is None else service.now() - timedelta(days=days)
    return Filters(Wanted(verdict, patch, what, state, campaign, since, text, known), sort, limit, cursor, days)


FindingFilters = Annotated[Filters, Depends(_filters)]
