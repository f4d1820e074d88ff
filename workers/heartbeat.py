# SPDX-License-Identifier: GPL-2.0-only
"""What a worker's main process does beside running tasks: say that it is there, and ask for dispatching."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from celery import bootsteps
from celery.worker import state
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError
from sqlalchemy import Engine

from db.liveness import WorkerRow, forget_worker, note_worker, workers
from db.session import StoreError, open_database, utc_now
from reference_mmu.record import Record
from reference_mmu.version import model_version
from workers import metrics
from workers.app import CONTROL_QUEUE, app, queue_names
from workers.chores import chores
from workers.exposition import bury_the_dead
from workers.logs import log
from workers.mailbox import Letter
from workers.settings import settings
from workers.tasks import WORKER_NAME, WorkerProcess, pulse

# A third of db.liveness.ALIVE_SECONDS: two may get lost.
HEARTBEAT_SECONDS: Final = 5
DEAF_BEATS: Final = 2


def new_name() -> str:
    """A name that no worker ever had: a worker that comes back after a crash is another one."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


class Heartbeat(bootsteps.StartStopStep):
    """Runs on the timer of the worker's event loop, so that a worker whose loop hangs is taken for dead."""

    requires = ("celery.worker.components:Timer",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.timers: list[Any] = []
        self.deaf_beats = 0
        self.oldest: list[bytes] = []
        self.engine: Engine | None = None
        now = utc_now()
        self.row = WorkerRow(
            name=os.environ[WORKER_NAME],
            host=socket.gethostname(),
            pid=os.getpid(),
            slots=WorkerProcess.shared_permits().slots,
            model_version=model_version(),
            started_at=now,
            seen_at=now,
        )

    def start(self, parent: Any) -> None:
        metrics.show_zeros()
        self.beat()
        # What waits for a first worker need not wait for its second pulse, too.
        self.ask()
        self.timers = [
            parent.timer.call_repeatedly(HEARTBEAT_SECONDS, self.beat),
            parent.timer.call_repeatedly(settings().pulse_seconds, self.ask),
            parent.timer.call_repeatedly(HEARTBEAT_SECONDS, self.look_after),
            parent.timer.call_repeatedly(HEARTBEAT_SECONDS, self.listen),
        ]

    def stop(self, parent: Any) -> None:
        for timer in self.timers:
            timer.cancel()
        try:
            with self.database() as engine:
                forget_worker(engine, self.row.name)
        except StoreError as error:
            log().warning("worker leaves without a word", error=str(error))

    # A worker that was killed off cannot say so; Celery calls this instead of stop.
    terminate = stop

    @contextmanager
    def database(self) -> Iterator[Engine]:
        """The database for one transaction: of a connection that stays open the processes forked later would inherit a
        copy. Raises StoreError."""
        self.engine = self.engine or open_database(settings().database.get_secret_value())
        try:
            yield self.engine
        finally:
            self.engine.dispose()

    def beat(self) -> None:
        """Say that this worker is there."""
        try:
            with self.database() as engine:
                at = utc_now()
                note_worker(engine, msgspec.structs.replace(self.row, seen_at=at))
                metrics.HEARTBEAT.set(at.timestamp())
                metrics.LIVE_WORKERS.set(len(workers(engine)))
        except StoreError as error:
            metrics.count_error(error)
            log().warning("heartbeat not stored", error=str(error))

    def ask(self) -> None:
        """Have some process of some worker dispatch the campaigns."""
        try:
            pulse.apply_async(queue=CONTROL_QUEUE)
        except OperationalError as error:
            log().warning("pulse not sent", error=str(error))

    def look_after(self) -> None:
        """Have some process of some worker look what belongs to no campaign."""
        try:
            chores.apply_async(queue=CONTROL_QUEUE)
        except OperationalError as error:
            log().warning("chores not asked for", error=str(error))

    def listen(self) -> None:
        """Connect again after a lost acknowledgement, see Letter; and, whatever the reason, if the same message waits
        while this worker has none in hand, twice in a row.

        An error that the event loop takes for a lost connection makes it connect anew.
        """
        bury_the_dead()
        idle = not state.reserved_requests
        before, waiting = self.oldest, messages_waiting()
        for queue, messages in zip(metrics.QUEUES, waiting, strict=False):
            metrics.QUEUE_DEPTH.labels(queue).set(messages.count)
        # Not any message: one that this very beat has sent may not have arrived yet, on a busy host at every beat.
        self.oldest = [messages.oldest for messages in waiting if messages.oldest is not None]
        self.deaf_beats = self.deaf_beats + 1 if idle and not set(before).isdisjoint(self.oldest) else 0
        if Letter.unacknowledged or self.deaf_beats >= DEAF_BEATS:
            log().warning("deaf to the broker, connecting again", unacknowledged=Letter.unacknowledged)
            self.deaf_beats = Letter.unacknowledged = 0
            raise ConnectionResetError("messages may wait that do not arrive")


class Messages(Record):
    """How many messages wait in a queue, and the one that is to be taken next."""

    count: int
    oldest: bytes | None


def messages_waiting() -> list[Messages]:
    """What waits in each queue of this worker; nothing if the broker does not answer."""
    try:
        with app.connection_for_write() as connection:
            redis: Any = connection.default_channel
            # Put in at the head and taken from the tail.
            return [Messages(int(redis.client.llen(n)), redis.client.lindex(n, -1)) for n in queue_names()]
    except (OperationalError, RedisError):
        return []
