# SPDX-License-Identifier: GPL-2.0-only
"""A dashboard over a small database: campaign 1 with eight findings, and clients of every level."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi.testclient import TestClient
from sqlalchemy import Engine

from dashboard.app import create_app
from dashboard.settings import Settings
from db.campaigns import NewCampaign
from db.schema import Level
from db.session import open_database
from db.store import Store
from db.tokens import Tokens
from fuzzer.judge.finding import BatchResult, FoundFinding, signature
from fuzzer.reproducer import encode_reproducer
from tests.golden import golden

SECRET: Final = "s3cret-" * 6
NOW: Final = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SHOWN: Final = (
    *("aging-goes-unseen", "always-dirty-spurious", "bug-219588", "collapsible-fewer-flushes"),
    *("collapsible-frozen", "collapsible-huge-before-flush", "consequence-more-pml", "invalid-root-aging"),
)
"""The golden programs whose findings campaign 1 holds."""
BUG: Final = signature(golden("bug-219588").finding)
CAMPAIGN: Final = NewCampaign(
    name="golden", old_spec="old", new_spec="new", profile="mixed", seed_first=0, model_version="0"
)


class Site(NamedTuple):
    """A running application, and the token of each level."""

    client: TestClient
    engine: Engine
    tokens: dict[Level, str]

    def headers(self, level: Level) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[level]}"}

    def get(self, address: str, level: Level = Level.READ, **more: Any) -> Any:
        return self.client.get(address, headers=self.headers(level) | more.pop("headers", {}), **more)

    def replayed(self, address: str) -> str:
        """The page of a finding once its reproducer has been replayed."""
        deadline = time.monotonic() + 120
        while "It is being replayed." in (text := str(self.get(address).text)):
            assert time.monotonic() < deadline
        return text

    def sign_in(self, level: Level) -> None:
        """From now on the client has a session."""
        response = self.client.post("/login", data={"token": self.tokens[level]}, follow_redirects=False)
        assert response.status_code == 303
        assert response.headers["location"] == "/"


def fill(store: Store) -> None:
    """Campaign 1: a batch per finding."""
    campaign = store.create_campaign(CAMPAIGN)
    for number, name in enumerate(SHOWN):
        body = encode_reproducer(golden(name))
        found = FoundFinding(golden(name).finding, number + 1, number * 10, body)
        store.record(BatchResult(campaign, number, number * 10, 10, 1000, 2.0, 100 + number, (found,)))


@contextmanager
def site(folder: Path, **settings: Any) -> Iterator[Site]:
    """Nobody asks too often unless a test says how often that is."""
    engine = open_database(f"sqlite:///{folder / 'mmufuzz.db'}")
    fill(Store(engine, lambda: NOW))
    with started(engine, SECRET, **settings) as client:
        tokens = Tokens(engine, lambda: NOW)
        made = {level: tokens.create(f"{level} token", level) for level in (Level.READ, Level.OPERATE)}
        yield Site(client, engine, made | {Level.ADMIN: SECRET})
    engine.dispose()


@contextmanager
def started(engine: Engine, secret: str | None, **settings: Any) -> Iterator[TestClient]:
    """The application over a database that is there. To its rates a minute passes between two requests, or with any
    settings no time at all."""
    minutes = count()
    clock = (lambda: 0.0) if settings else (lambda: 60.0 * next(minutes))
    app = create_app(Settings(**settings), engine, secret, now=lambda: NOW, clock=clock)
    with TestClient(app, base_url="http://localhost", client=("192.0.2.1", 1234)) as client:
        yield client
