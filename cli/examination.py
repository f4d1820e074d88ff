# SPDX-License-Identifier: GPL-2.0-only
"""What `mmufuzz doctor` looks at: each check is a line, with the next step where something is wrong."""

import shutil
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from cli.parameters import database_name
from db.condition import Server, backlog, server
from db.liveness import ALIVE_SECONDS, workers
from db.notifications import Notifications
from db.revisions import revisions
from db.session import StoreError, open_database
from reference_mmu.record import Record
from reference_mmu.version import model_version
from workers.app import app
from workers.settings import Settings

# A worker counts as dead after ALIVE_SECONDS without a heartbeat; clocks may differ by a third of that.
SKEW_SECONDS_MAX: Final = ALIVE_SECONDS / 3
_SKEW_SECONDS_GOOD: Final = 1.0
DISK_BYTES_MIN: Final = 100 * 2**20
_DISK_BYTES_GOOD: Final = 2**30


class Rating(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Check(Record):
    """One line: what was looked at, what was seen, and what to do about it ("" if nothing)."""

    health: Rating
    name: str
    text: str
    step: str = ""


def examine(settings: Settings) -> Iterator[Check]:
    """All checks; those that need what failed are left out."""
    yield broker()
    yield disk(tempfile.gettempdir())
    url = settings.database.get_secret_value()
    try:
        known = revisions(url)
        yield Check(Rating.OK, "database", database_name(url))
        if known.database is None:
            yield Check(Rating.WARNING, "migrations", "the database has no tables", "mmufuzz migrate up")
        elif not known.is_known():
            text = f"revision {known.database} is newer than {known.known[-1]}, the last that this version knows"
            yield Check(Rating.FAILED, "migrations", text, "update mmufuzz on this machine")
        elif not known.is_newest():
            text = f"revision {known.database}, this version needs {known.known[-1]}"
            yield Check(Rating.WARNING, "migrations", text, "mmufuzz migrate up; workers of older versions then stop")
        else:
            yield Check(Rating.OK, "migrations", f"revision {known.database}, the newest")
        yield from clock(server(url))
        if known.is_newest():
            yield from fleet(url)
    except StoreError as error:
        yield Check(Rating.FAILED, "database", str(error), "see that it runs, and that MMUFUZZ_DATABASE names it")
    yield notifications(settings)


def broker() -> Check:
    """Does the broker answer, and does it keep what it is given?"""
    try:
        with app.connection_for_write(connect_timeout=5) as connection:
            channel: Any = connection.default_channel
            told = channel.client.info()
    except (OperationalError, RedisError) as error:
        text = " ".join(str(error).split())
        return Check(Rating.FAILED, "broker", text, "see that it runs, and that MMUFUZZ_BROKER names it")
    name = f"{connection.as_uri()}, version {told.get('redis_version', 'unknown')}"
    if told.get("maxmemory") and told.get("maxmemory_policy") != "noeviction":
        text = f"{name}: drops messages when its memory is full ({told['maxmemory_policy']})"
        return Check(Rating.WARNING, "broker", text, "CONFIG SET maxmemory-policy noeviction")
    return Check(Rating.OK, "broker", name)


def clock(told: Server | None) -> Iterator[Check]:
    """Do the clocks agree? Heartbeats are times of the workers' clocks; a database in a file has that of this
    machine."""
    if told is None:
        yield Check(Rating.OK, "clock", "the database is a file of this machine")
        return
    yield Check(Rating.OK, "server", f"PostgreSQL {told.version}, {told.bytes_total / 2**20:.0f} MiB")
    skew = abs(told.skew_seconds)
    text = f"{skew:.1f} s {'behind' if told.skew_seconds > 0 else 'ahead of'} that of the database"
    if skew <= _SKEW_SECONDS_GOOD:
        yield Check(Rating.OK, "clock", f"within {_SKEW_SECONDS_GOOD:.0f} s of that of the database")
    else:
        health = Rating.WARNING if skew <= SKEW_SECONDS_MAX else Rating.FAILED
        yield Check(health, "clock", text, "synchronize it (chronyd, systemd-timesyncd)")


def fleet(url: str) -> Iterator[Check]:
    """Who works, and what waits.  Raises StoreError."""
    engine = open_database(url)
    try:
        alive = workers(engine)
        waiting = backlog(engine)
        given_up = Notifications(engine).count().given_up
    finally:
        engine.dispose()
    own = model_version()
    slots: dict[str, int] = {}
    for worker in alive:
        slots[worker.model_version] = slots.get(worker.model_version, 0) + worker.slots
    words = ", ".join(f"model {model}: {count} slots" for model, count in sorted(slots.items()))
    if not alive:
        yield Check(Rating.WARNING, "workers", "none is alive", "mmufuzz worker")
    elif set(slots) != {own}:
        step = "update those of another version: they refuse new campaigns"
        yield Check(Rating.WARNING, "workers", f"{words}; this is model {own}", step)
    else:
        yield Check(Rating.OK, "workers", words)
    for campaign, model in waiting.running:
        if model not in slots:
            text = f"{campaign} waits: no live worker has model {model}"
            yield Check(Rating.WARNING, "campaign", text, "start one of that version, or stop the campaign")
    for campaign, tasks in waiting.aside:
        yield Check(
            Rating.WARNING,
            "campaign",
            f"{campaign} has {tasks} tasks set aside",
            f"mmufuzz campaign show {campaign}",
        )
    if given_up:
        yield Check(Rating.WARNING, "webhook", f"{given_up} messages were given up", "see what the receiver answers")


def disk(folder: str) -> Check:
    """Is there room for scratch files and metrics?"""
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free for scratch files"
    if free >= _DISK_BYTES_GOOD:
        return Check(Rating.OK, "disk", text)
    return Check(Rating.FAILED if free < DISK_BYTES_MIN else Rating.WARNING, "disk", text, f"make room in {folder}")


def notifications(settings: Settings) -> Check:
    """Is anybody told?"""
    if not settings.webhook_url.get_secret_value():
        return Check(Rating.OK, "webhook", "nobody is told of findings (MMUFUZZ_WEBHOOK_URL)")
    if settings.webhook_stopped:
        return Check(Rating.WARNING, "webhook", "is stopped", "unset MMUFUZZ_WEBHOOK_STOPPED")
    return Check(Rating.OK, "webhook", f"at most {settings.webhook_hourly_max} messages an hour")
