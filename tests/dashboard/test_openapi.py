# SPDX-License-Identifier: GPL-2.0-only
"""Requests made from the API's own description, good ones and bad ones, to a real server: no answer is a 5xx, each has
a status and a type that the description names, and what it names as JSON is of the schema that it gives."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dashboard.api import PREFIX
from db.schema import CampaignState
from db.session import open_database
from db.store import Store
from tests.dashboard.server import Server, serving
from tests.dashboard.site import SECRET, fill

EXAMPLES = 12
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("openapi")
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    fill(Store(engine))
    Store(engine).end_campaign(1, CampaignState.FINISHED)
    engine.dispose()
    with serving(folder) as server:
        yield server


def test_no_request_breaks_the_server(server: Server) -> None:
    description = schemathesis.openapi.from_url(f"{server.address}{PREFIX}/openapi.json")
    # A stream goes on for ever; tests/dashboard/test_live.py is about these.
    operations = [found.ok() for found in description.exclude(path_regex="/events$").get_all_operations()]
    assert len(operations) >= 22
    for operation in operations:
        tried = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))(
            given(case=operation.as_strategy())(send)
        )
        tried()
    assert not any("Traceback" in line for line in server.said)


def send(case: Case) -> None:
    case.call_and_validate(headers={"Authorization": f"Bearer {SECRET}"}, checks=CHECKS)
