# SPDX-License-Identifier: GPL-2.0-only
"""What Prometheus gets from a real worker: exactly what is declared, and what the database says."""

import os
import signal
import socket
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from db.session import transaction
from tests.cli.shell import changed_sources
from tests.service.fleet import Fleet
from tests.service.waiting import wait_until
from workers import metrics

DECLARED = {
    family.name: family
    for wrapper in vars(metrics).values()
    if isinstance(wrapper, MetricWrapperBase)
    for family in wrapper.describe()
}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def get(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def scrape(port: int) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(get(port))}


def values(families: dict[str, Metric], name: str) -> dict[tuple[str, ...], float]:
    """Of a counter or gauge, by the values of its labels."""
    samples = (sample for sample in families[name].samples if not sample.name.endswith("_created"))
    return {tuple(sample.labels.values()): sample.value for sample in samples}


def value(families: dict[str, Metric], name: str) -> float:
    return values(families, name)[()]


def shown(fleet: Fleet, word: str) -> float:
    """Programs that showed a trace of that kind, or of that invariant."""
    return one(fleet, f"SELECT sum(count) FROM traces WHERE key LIKE '%\"{word}\"%'")


def one(fleet: Fleet, query: str) -> float:
    with transaction(fleet.engine, "read") as connection:
        return float(connection.execute(text(query)).scalar_one())


@pytest.mark.parametrize("family", DECLARED.values(), ids=DECLARED.keys())
def test_names_follow_the_conventions(family: Metric) -> None:
    """As `promtool check metrics` has it: prefix, base units, no type in the name, a help text that says something."""
    assert family.name.startswith("mmufuzz_")
    assert family.name.removeprefix("mmufuzz_").replace("_", "").islower()
    assert len(family.documentation) > 20
    assert family.documentation.endswith(".")
    for word in ("milliseconds", "minutes", "hours", "percent", "counter", "gauge", "histogram"):
        assert word not in family.name.split("_")
    if family.type == "histogram":
        assert family.name.endswith("_seconds")
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), "the library adds them"


def test_what_is_declared_is_served_and_equals_the_database(fleet: Fleet) -> None:
    port = free_port()
    worker = fleet.start_worker(slots=2, MMUFUZZ_METRICS_PORT=str(port))
    wait_until(lambda: bool(fleet.live_workers()), "the worker is there", seconds=60)
    before = scrape(port)
    assert before.keys() == DECLARED.keys()
    assert {name: family.documentation for name, family in before.items()} == {
        name: family.documentation for name, family in DECLARED.items()
    }
    assert value(before, "mmufuzz_programs") == 0
    assert set(values(before, "mmufuzz_batches")) == {("done",), ("repeated",), ("aside",)}
    status = fleet.finish(fleet.create(40, batch_programs=7, seed=120))
    wait_until(lambda: value(scrape(port), "mmufuzz_programs") == 40, "the last batch is counted", seconds=10)
    after = scrape(port)
    assert value(after, "mmufuzz_steps") == status.steps
    assert values(after, "mmufuzz_batches")[("done",)] == status.batches == 6
    assert value(after, "mmufuzz_coverage_points") == one(fleet, "SELECT max(coverage) FROM batches")
    assert value(after, "mmufuzz_divergences") == shown(fleet, "divergence") > 0
    assert value(after, "mmufuzz_violating_programs") == shown(fleet, "violation") > 0
    missed = shown(fleet, "stale-writable-mmuw")
    assert value(after, "mmufuzz_missed_flushes") == missed > 0
    rows = fleet.store.findings(limit=10_000)
    stored = Counter((row.finding.kind, "yes" if row.known else "no", str(row.finding.verdict)) for row in rows)
    assert {labels: int(n) for labels, n in values(after, "mmufuzz_findings").items() if n} == stored
    observed = {sample.name: sample.value for sample in after["mmufuzz_detection_seconds"].samples}
    assert observed["mmufuzz_detection_seconds_count"] == len(rows)
    assert sum(values(after, "mmufuzz_redeliveries").values()) == status.redeliveries
    assert value(after, "mmufuzz_workers") == 1
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(port, "/")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(timeout=60) == 0
    with pytest.raises(urllib.error.URLError):
        get(port)


def test_what_was_killed_is_forgotten_and_what_it_did_is_not(fleet: Fleet, tmp_path: Path) -> None:
    """A search process dies; then the whole worker, and the next one on this port begins at nothing."""
    port = free_port()
    worker = fleet.start_worker(MMUFUZZ_METRICS_PORT=str(port))
    fleet.create(10**6, batch_programs=2)
    wait_until(lambda: fleet.fleets.status(1).batches > 2, "it runs", seconds=60)
    os.kill(worker.search_processes()[0], signal.SIGKILL)
    done = fleet.fleets.status(1).batches
    wait_until(lambda: fleet.fleets.status(1).batches > done + 2, "it goes on", seconds=60)
    assert value(scrape(port), "mmufuzz_programs") > 2 * done - 3, "but for a batch that died before it was counted"
    worker.kill()
    fleet.fleets.stop(1)
    wait_until(lambda: not listening(port), "no orphan holds the port", seconds=30)
    fleet.start_worker(MMUFUZZ_METRICS_PORT=str(port))
    wait_until(lambda: listening(port), "the next worker serves", seconds=60)
    assert value(scrape(port), "mmufuzz_programs") == 0


def listening(port: int) -> bool:
    """Are there metrics?  Before its processes are made, a worker serves none."""
    try:
        return bool(get(port))
    except urllib.error.URLError:
        return False


def test_failures_are_counted(fleet: Fleet, tmp_path: Path) -> None:
    head = "def generate_script(seed: int, profile: Profile) -> Script:\n"
    doc = '    """The program of a seed as machines run it: a pure function of both arguments."""\n'
    planted = f"{head}    assert seed != 3, 'planted'\n"
    sources = changed_sources(tmp_path / "sources", "fuzzer/program/generate.py", head + doc, planted)
    port = free_port()
    fleet.start_worker(sources=sources, MMUFUZZ_METRICS_PORT=str(port))
    fleet.finish(fleet.create(4, batch_programs=2))
    wait_until(lambda: values(scrape(port), "mmufuzz_batches")[("aside",)] == 1, "it is counted", seconds=10)
    families = scrape(port)
    assert values(families, "mmufuzz_batches")[("done",)] == 1
    assert values(families, "mmufuzz_redeliveries")[("batch",)] == 2, "begun thrice"
    fleet.servers.stop_postgres()
    try:
        errors = "mmufuzz_database_errors"
        wait_until(lambda: values(scrape(port), errors)[("unavailable",)] > 0, "an outage is counted", seconds=30)
    finally:
        fleet.servers.start_postgres()


def test_a_port_that_is_taken(fleet: Fleet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        worker = fleet.start_worker(MMUFUZZ_METRICS_PORT=port)
        assert worker.process.wait(timeout=60) == 2
    assert worker.log_file.read_text(encoding="utf-8") == (
        f"mmufuzz: metrics cannot be served at 127.0.0.1:{port}: Address already in use; set MMUFUZZ_METRICS_PORT\n"
    )
