# SPDX-License-Identifier: GPL-2.0-only
"""A worker: Celery's main process with its search processes."""

import os

from celery.signals import worker_shutting_down

from db.session import StoreError, StoreUnavailable, open_database
from workers.app import app, queue_names
from workers.heartbeat import Heartbeat, new_name
from workers.logs import configure_logs, log
from workers.mailbox import use_mailbox
from workers.permits import SPARE_PROCESSES, Permits
from workers.refusal import refuse
from workers.settings import settings
from workers.tasks import WORKER_NAME, WorkerProcess


def serve(slots: int) -> int:
    """Work until told to stop; returns the exit code.  Raises BadInput for a database that is not ours."""
    configure_logs()
    with refuse(StoreError, advice="set MMUFUZZ_DATABASE"):
        try:
            open_database(settings().database.get_secret_value()).dispose()
        except StoreUnavailable as error:
            log().warning("waiting for the database", error=str(error))
    name = os.environ[WORKER_NAME] = new_name()
    permits = WorkerProcess.permits = Permits(slots)
    worker_shutting_down.connect(lambda **_signal: permits.close(), weak=False)
    app.steps["worker"].add(Heartbeat)
    use_mailbox()
    worker = app.Worker(
        hostname=f"mmufuzz@{name}",
        concurrency=slots + SPARE_PROCESSES,
        pool="prefork",
        queues=queue_names(),
        loglevel="INFO",
        quiet=True,
        # Workers need not know of each other: what they have in common is in the database.
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
