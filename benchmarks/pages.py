# SPDX-License-Identifier: GPL-2.0-only
"""The dashboard over 10 000 findings and 1 000 000 occurrences on PostgreSQL: time and bytes of every page and list.

.venv/bin/python -m benchmarks.pages
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from fastapi.testclient import TestClient
from sqlalchemy import Engine, func, insert, literal, select, text, update

from benchmarks.lists import fill, name_of
from dashboard.app import create_app
from dashboard.settings import Settings
from db.schema import BatchTable, FindingTable, OccurrenceTable, ReproducerTable
from fuzzer.reproducer import encode_reproducer
from reference_mmu.record import Record
from tests.dashboard.site import SHOWN
from tests.golden import golden
from tests.service.fleet import Fleet
from tests.service.servers import running_servers

SECONDS_MAX: Final = 0.3
BYTES_MAX: Final = 200_000
_SECRET: Final = "0123456789abcdef" * 4
_TIMES: Final = 5


class Visited(Record):
    """A page or list: seconds of the first visit and of the median and worst of some more; bytes compressed and not."""

    address: str
    first: float
    median: float
    worst: float
    bytes_sent: int
    bytes_plain: int

    def is_over(self) -> bool:
        return self.median >= SECONDS_MAX or self.bytes_sent >= BYTES_MAX


@click.command()
@click.option("--batches", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--findings", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--occurrences", type=click.IntRange(1), default=100, show_default=True, help="Of each finding.")
def main(batches: int, findings: int, occurrences: int) -> None:
    """Fill a database, visit everything, and end with 1 if anything is too slow or too large."""
    with (
        tempfile.TemporaryDirectory(prefix="mmufuzz-") as name,
        running_servers() as servers,
        Fleet(servers, Path(name)) as fleet,
    ):
        campaign = fleet.create(10**9)
        fill(fleet, campaign, batches, findings)
        spread(fleet.engine, campaign, occurrences)
        with visitor(fleet.engine) as client:
            visited = [visit(client, address) for address in addresses(campaign, client)]
            taken = [visit(client, address, times=1) for address in downloads(campaign)]
    print("first, median, worst ms; bytes sent, bytes before compression")
    for one in (*visited, *taken):
        times = " ".join(f"{seconds * 1000:6.0f}" for seconds in (one.first, one.median, one.worst))
        over = "  TOO MUCH" if one.is_over() and one in visited else ""
        print(f"{times} {one.bytes_sent:8} {one.bytes_plain:8}  {one.address}{over}")
    raise SystemExit(any(one.is_over() for one in visited))


def spread(engine: Engine, campaign: int, each: int) -> None:
    """Give every finding its occurrences, the words of a real one, and a reproducer that can be replayed."""
    table, batch, finding = OccurrenceTable, BatchTable, FindingTable
    body = encode_reproducer(golden("bug-219588"))
    rows = (
        select(finding.id, batch.id, batch.seed_first, literal(1))
        .where(finding.campaign_id == campaign, batch.campaign_id == campaign)
        .where(batch.number < each * 100, batch.number % 100 == finding.id % 100)
    )
    columns = ["finding_id", "batch_id", "program_seed", "count"]
    with engine.begin() as connection:
        connection.execute(table.__table__.delete())  # type: ignore[attr-defined]
        connection.execute(insert(table).from_select(columns, rows))
        connection.execute(ReproducerTable.__table__.update().values(body=body))  # type: ignore[attr-defined]
        for place, name in enumerate(SHOWN):
            told = golden(name).finding
            words = {"what": told.what, "patches": list(told.patches), "story": told.story, "sites": list(told.sites)}
            connection.execute(update(finding).where(finding.id % len(SHOWN) == place).values(words))
        held = connection.execute(select(func.count()).select_from(table)).scalar_one()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    print(f"{held} occurrences")


@contextmanager
def visitor(engine: Engine) -> Iterator[TestClient]:
    """A signed-in administrator whom nothing limits."""
    settings = Settings(requests_per_second=1e6, requests_at_once=10**6)
    with TestClient(create_app(settings, engine, _SECRET), base_url="http://localhost") as client:
        client.headers["Authorization"] = f"Bearer {_SECRET}"
        yield client


def addresses(campaign: int, client: TestClient) -> list[str]:
    """Every page and list, and the lists with their dearest filters."""
    finding, api = f"{campaign}/{name_of(7)}", "/api/v1"
    cursor = client.get(f"{api}/findings?limit=200").json()["cursor"]
    filters = ("", "text=site-99", "text=nosuch", "patch=nosuch", f"campaign={campaign}&sort=count", f"cursor={cursor}")
    return [
        *(
            "/",
            "/campaigns",
            f"/campaigns/{campaign}",
            "/campaigns/new",
            "/workers",
            "/changelog",
            "/changelog/age-elides-tlb-flush",
        ),
        *("/replays", "/tokens", f"/findings/{finding}"),
        *(f"/findings?{words}" for words in filters),
        *(f"{api}/findings?{words}" for words in filters),
        f"{api}/findings?limit=200",
        *(f"{api}/findings/{finding}{part}" for part in ("", "/trace", "/exports/story")),
        *(f"{api}/campaigns{part}" for part in ("", f"/{campaign}", f"/{campaign}/progress", f"/{campaign}/growth")),
        *(
            f"{api}/{name}"
            for name in ("overview", "workers", "names", "patches", "patches/age-elides-tlb-flush", "tokens", "me")
        ),
    ]


def downloads(campaign: int) -> list[str]:
    """Files for keeps, which are as large as what is in them."""
    return [f"/api/v1/campaigns/{campaign}/findings.{kind}" for kind in ("csv", "zip")]


def visit(client: TestClient, address: str, times: int = _TIMES) -> Visited:
    """Once for what is kept from then on, and then some times."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        answer = client.get(address)
        taken.append(time.perf_counter() - began)
        assert answer.status_code == 200, (address, answer.status_code)
    again = sorted(taken[1:])
    # What is made while it is sent has no length, and is not compressed on its way.
    sent = int(answer.headers.get("content-length", len(answer.content)))
    return Visited(address, taken[0], again[len(again) // 2], again[-1], sent, len(answer.content))


if __name__ == "__main__":
    main()
