# SPDX-License-Identifier: GPL-2.0-only
"""Every metric of a worker, with its unit and what it means.

A counter counts what the processes of this worker have done since it started, in base units, after the database has
taken it; sums over all workers are sums of the metrics.  A process that is killed between the two leaves its last step
uncounted: the database is what counts, this is what is watched.  Labels have the values that are listed here and no
others, so no name from anywhere makes a new series.

To be imported only after `workers.exposition.Exposition`: the library looks at the environment once.
"""

from collections.abc import Iterable
from enum import StrEnum
from itertools import product
from typing import Final, get_args

from prometheus_client import Counter, Gauge, Histogram

from db.schema import FindingState, TaskKind
from db.session import StoreError, StoreUnavailable
from fuzzer.judge.finding import Finding, Verdict
from fuzzer.sighting import Sighting

MISSED_FLUSHES: Final = frozenset({"stale-translation", "stale-writable-mmuw"})
"""The invariants that only a missing or late TLB flush breaks, see fuzzer.oracle.translations."""


class BatchEnd(StrEnum):
    """What became of a batch that a process ran."""

    DONE = "done"
    REPEATED = "repeated"
    """Its result was stored already, by somebody else."""
    ASIDE = "aside"


class Known(StrEnum):
    """Is a finding a known hole?"""

    YES = "yes"
    NO = "no"


class Delivery(StrEnum):
    """What became of a try to notify."""

    SENT = "sent"
    FAILED = "failed"


class DatabaseError(StrEnum):
    """What the database said."""

    UNAVAILABLE = "unavailable"
    REFUSED = "refused"


PROGRAMS: Final = Counter("mmufuzz_programs_total", "Programs run on both models, of batches that were stored.")
STEPS: Final = Counter("mmufuzz_steps_total", "Turns of both models, of batches that were stored.")
BATCHES: Final = Counter("mmufuzz_batches_total", "Batches that ended here, by how.", ["state"])
BATCH_SECONDS: Final = Histogram(
    "mmufuzz_batch_seconds",
    "Time to run a batch, in seconds.",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
SIGHTED: Final = Counter(
    "mmufuzz_violating_programs_total", "Programs with a violation, once per trace, of batches that were stored."
)
MISSED: Final = Counter(
    "mmufuzz_missed_flushes_total",
    "Programs after which a TLB entry outlived what it translates, in either model, once per trace.",
)
DIVERGENCES: Final = Counter(
    "mmufuzz_divergences_total", "Programs in which the models differ, once per trace, of batches that were stored."
)
FINDINGS: Final = Counter(
    "mmufuzz_findings_total",
    "Findings stored with a new signature after minimization, by whether they are a known hole.",
    ["verdict", "kind", "known"],
)
DETECTION_SECONDS: Final = Histogram(
    "mmufuzz_detection_seconds",
    "Time from the creation of a campaign to the storing of a finding with a new signature, in seconds.",
    buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
)
MINIMIZATION_SECONDS: Final = Histogram(
    "mmufuzz_minimization_seconds",
    "Time to minimize a finding, in seconds.",
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300),
)
COVERAGE: Final = Gauge(
    "mmufuzz_coverage_points", "Most coverage points that a batch here has reached.", multiprocess_mode="max"
)
REDELIVERIES: Final = Counter("mmufuzz_redeliveries_total", "Tasks begun that had been begun before.", ["kind"])
RECHECKS: Final = Counter("mmufuzz_rechecks_total", "Reproducers run again, by the state it left.", ["state"])
NOTIFICATIONS: Final = Counter("mmufuzz_notifications_total", "Tries to notify, by outcome.", ["outcome"])
DATABASE_ERRORS: Final = Counter(
    "mmufuzz_database_errors_total", "Transactions that failed, by whether trying again may help.", ["error"]
)
QUEUE_DEPTH: Final = Gauge(
    "mmufuzz_queue_messages", "Messages waiting in the broker.", ["queue"], multiprocess_mode="livemostrecent"
)
LIVE_WORKERS: Final = Gauge(
    "mmufuzz_workers", "Workers alive in the whole fleet, of any version.", multiprocess_mode="livemostrecent"
)
HEARTBEAT: Final = Gauge(
    "mmufuzz_heartbeat_timestamp_seconds",
    "When this worker last told the database that it is there, in Unix time.",
    multiprocess_mode="livemostrecent",
)
QUEUES: Final = ("control", "batches", "findings")
"""Values of the label `queue`: the names without prefix and model version."""


def show_zeros() -> None:
    """Make every series appear before anything happened: an alert on a series that is not there never fires."""
    kinds = get_args(Finding.__annotations__["kind"])
    for verdict, kind, known in product(Verdict, kinds, Known):
        FINDINGS.labels(verdict.value, kind, known.value)
    for metric, values in (
        (BATCHES, BatchEnd),
        (REDELIVERIES, TaskKind),
        (RECHECKS, FindingState),
        (NOTIFICATIONS, Delivery),
        (DATABASE_ERRORS, DatabaseError),
    ):
        for value in values:
            metric.labels(value.value)
    for queue in QUEUES:
        QUEUE_DEPTH.labels(queue)


def count_sightings(seen: Iterable[Sighting]) -> None:
    """Count what the programs of a batch showed."""
    for sighting in seen:
        programs = len(sighting.seeds)
        if sighting.trace.kind == "divergence":
            DIVERGENCES.inc(programs)
            continue
        SIGHTED.inc(programs)
        if sighting.trace.what in MISSED_FLUSHES:
            MISSED.inc(programs)


def count_error(error: BaseException) -> None:
    """Count an error if it is one of the database."""
    if isinstance(error, StoreUnavailable):
        DATABASE_ERRORS.labels(DatabaseError.UNAVAILABLE.value).inc()
    elif isinstance(error, StoreError):
        DATABASE_ERRORS.labels(DatabaseError.REFUSED.value).inc()
