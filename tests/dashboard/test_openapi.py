# SPDX-License-Identifier: GPL-2.0-only
"""Requests made from the API's own description, good ones and bad ones, to a real server: no answer is a 5xx, each has
a status and a type that the description names, and what it names as JSON is of the schema that it gives."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dashboard.api import PREFIX
from db.fleets import FleetPlan, Fleets
from db.replays import Replays
from db.schema import Level, UploadKind
from db.session import open_database
from db.store import Store
from db.tokens import Tokens
from fuzzer.judge.finding import signature
from fuzzer.one_program import Searched, ShownBug
from fuzzer.reproducer import encode_reproducer
from fuzzer.tell.export.trace_json import encode_document, make_document
from tests.dashboard.server import Server, serving
from tests.dashboard.site import BUG, CAMPAIGN, SECRET, fill
from tests.golden import golden

EXAMPLES = 8
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {
    "campaign": 1,
    "signature": BUG,
    "form": "story",
    "patch": "age-elides-tlb-flush",
    "token": 2,
    "place": 1,
    "action": "stop",
}
"""Things that are there; campaign 2 is the one that can be steered."""

SENSE: dict[str, dict[str, Any]] = {
    "campaigns": {"old": "old", "new": "new", "programs": 5},
    "comment": {"text": "seen"},
    "state": {"why": "seen"},
    "merge": {"into": signature(golden("aging-goes-unseen").finding), "why": "the same"},
    "split": {"why": "not the same"},
}
"""By the end of a path: what a random body would not have, as an end of a campaign and patches that there are."""


class Stored(NamedTuple):
    """A server, and the receipts of uploads that are done: a reproducer, and a program that showed a finding."""

    server: Server
    reproducer: str
    program: str


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    fill(Store(engine))
    Fleets(engine).create(FleetPlan(10, False, None), msgspec.structs.replace(CAMPAIGN, budget_programs=10))
    Tokens(engine).create("spare", Level.READ)
    Tokens(engine).create("another", Level.READ)
    reproducer = golden("bug-219588")
    replays = Replays(engine)
    replayed = replays.submit(encode_reproducer(reproducer), "me").id
    replays.finish(replayed, encode_document(make_document(reproducer)), None)
    shown = ShownBug(reproducer.finding, BUG, 1, 0, reproducer)
    report = Searched(reproducer.program, "old", "new", "0", 1, 100, (shown,), 0)
    searched = replays.submit(msgspec.json.encode(reproducer.program), "me", UploadKind.PROGRAM).id
    replays.finish(searched, msgspec.json.encode(report), None)
    engine.dispose()
    with serving(tmp_path) as server:
        yield Stored(server, replayed, searched)


def test_no_request_breaks_the_server(stored: Stored) -> None:
    server = stored.server
    description = schemathesis.openapi.from_url(f"{server.address}{PREFIX}/openapi.json")
    # A stream goes on for ever; tests/dashboard/test_live.py is about these.
    found = list(description.exclude(path_regex="/events$").get_all_operations())
    operations = [one.ok() for one in found if isinstance(one, Ok)]
    assert len(operations) == len(found), "the description is sound"
    refused = []
    # Last what may revoke this very token.
    for operation in sorted(operations, key=lambda operation: operation.method == "delete"):
        names = {parameter.name for parameter in operation.path_parameters}
        of_program = "place" in names or operation.path.endswith("/report")
        things = KNOWN | {"receipt": stored.program if of_program else stored.reproducer}
        known = {name: value for name, value in things.items() if name in names}
        if "action" in names:
            known["campaign"] = 2
        fields = SENSE.get(operation.path.rpartition("/")[2], {})
        seen = answers(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), known, fields)
        if min(seen) >= 300:
            refused.append((operation.label, seen))
        answers(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), {}, {})
    assert not any("Traceback" in line for line in server.said)
    # Else nothing but refusals would have been tried.
    assert refused == []


def answers(cases: SearchStrategy[Case[Any]], known: dict[str, Any], fields: dict[str, Any]) -> set[int]:
    """Status codes of some requests, whose paths name these things and whose bodies have these fields."""
    seen = set()

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=cases)
    def send(case: Case[Any]) -> None:
        case.path_parameters = {**case.path_parameters, **known}
        if isinstance(case.body, dict):
            case.body = {**case.body, **fields}
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {SECRET}"}, checks=CHECKS)
        seen.add(answer.status_code)

    with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
        send()
    return seen
