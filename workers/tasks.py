# SPDX-License-Identifier: GPL-2.0-only
"""The Celery tasks: `perform` for one task of a campaign, `pulse` to move all campaigns on.

A task's message is its name and nothing else.  A message that is no such name, or names a campaign that is not there,
is logged and dropped.
"""

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from celery import Task
from celery.signals import worker_process_init
from celery.utils.time import get_exponential_backoff_interval
from kombu.exceptions import OperationalError
from sqlalchemy import Engine
from structlog.contextvars import bound_contextvars

from db.campaigns import NoCampaign
from db.dispatch import Dispatched, dispatch, running_campaigns
from db.handout import TaskName
from db.schema import TaskKind
from db.session import StoreError, StoreUnavailable, open_database
from db.tasks import OtherModel, Tasks
from reference_mmu.version import model_version
from workers import metrics, pieces
from workers.app import (
    ERROR_RETRIES,
    OUTAGE_RETRIES,
    RETRY_SECONDS_MAX,
    app,
    message_limits,
    patience,
    queue_of,
    time_limits,
)
from workers.exposition import Exposition
from workers.logs import log
from workers.metrics import BatchEnd, count_error
from workers.overtime import overtime
from workers.permits import Permit, Permits
from workers.settings import settings

# A pulse that could not be run for so long is one that others have replaced.
PULSE_EXPIRES_SECONDS: Final = 10
WORKER_NAME: Final = "MMUFUZZ_WORKER_NAME"
"""Environment variable by which a worker tells its processes who they are."""


class WorkerProcess:
    """What the tasks of this process have in common: its own database connection, and the permits of all processes of
    its worker."""

    engine: Engine | None = None
    permits: Permits | None = None

    @classmethod
    def database(cls) -> Engine:
        """The database, opened when it is first needed and again after a failure. Raises StoreUnavailable."""
        if cls.engine is None:
            cls.engine = open_database(settings().database.get_secret_value())
        return cls.engine

    @classmethod
    def shared_permits(cls) -> Permits:
        """The permits of this worker."""
        assert cls.permits is not None, "made by workers.station before anything is forked"
        return cls.permits

    @classmethod
    def permit(cls) -> Permit | None:
        """A permit to search; None after a vain wait."""
        return cls.shared_permits().take()


@worker_process_init.connect
def _forked(**_signal: Any) -> None:
    WorkerProcess.engine = None
    Exposition.leave()
    # What was there before the first task stays: the collector need not look at all of Celery's objects again and again
    # while a search makes and drops its own.
    gc.freeze()


class FleetTask(Task[Any, Any]):
    """Sets a task aside that failed for good, so that nothing waits for it."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called in the process of the task after its last retry."""
        del task_id, einfo
        name = named(args, kwargs)
        error = f"{type(exc).__name__}: {exc}"
        if isinstance(exc, StoreUnavailable):
            # Nothing is wrong with the task: it is published again when it is over its time.
            log().error("database gone for too long", task=msgspec.to_builtins(name), error=error)
            return
        log().error("task set aside", task=msgspec.to_builtins(name), error=error)
        try:
            Tasks(WorkerProcess.database()).set_aside(name, error)
        except StoreError as lost:
            count_error(lost)
            log().error("task not set aside, it will be published again", error=str(lost))
            return
        if name.kind is TaskKind.BATCH:
            metrics.BATCHES.labels(BatchEnd.ASIDE.value).inc()


@app.task(base=FleetTask, bind=True, name="mmufuzz.perform")
def perform(self: Task[Any, Any], *args: Any, **kwargs: Any) -> None:
    """Do one task of a campaign.  Any arguments are taken, since anybody can write into a queue."""
    try:
        name = named(args, kwargs)
    except msgspec.ValidationError as error:
        log().error("message dropped", error=str(error))
        return
    with bound_contextvars(campaign=name.campaign, task=name.kind.value, number=name.number), retried(self):
        permit = WorkerProcess.permit()
        if permit is None:
            put_back(self)
            return
        with permit:
            begin_and_perform(name, permit, redelivered=is_redelivered(self))
        # What was just stored makes work sooner or later.  Later is soon enough while there is work: dispatching after
        # every task would cost more than some tasks, and the next pulse does it anyway.
        if not Tasks(WorkerProcess.database()).are_waiting(name.campaign):
            move_on(name.campaign)


def named(args: Iterable[Any], kwargs: Iterable[str]) -> TaskName:
    """The task that the arguments of a message name.  Raises msgspec.ValidationError."""
    return msgspec.convert((*args, *kwargs), tuple[TaskName])[0]


def is_redelivered(task: Task[Any, Any]) -> bool:
    """Has somebody had this message before: a process that died with it, or this task before a retry?"""
    told = task.request.delivery_info or {}
    return bool(told.get("redelivered")) or task.request.retries > 0


def put_back(task: Task[Any, Any]) -> None:
    """Send the message of a task that waited for its permit in vain to the end of its queue; nothing has begun."""
    # That it was redelivered is not sent along; that it is a retry says the same.
    retries = task.request.retries or int(is_redelivered(task))
    try:
        task.signature_from_request(retries=retries).apply_async()
    except OperationalError as error:
        log().warning("broker gone, the task will be published later", error=str(error))


def begin_and_perform(name: TaskName, permit: Permit, *, redelivered: bool) -> None:
    """Do a task that may have been done, or may not be for this worker.  The permit is given back before
    anything is stored.

    Raises StoreError, and SoftTimeLimitExceeded.
    """
    engine = WorkerProcess.database()
    try:
        work = Tasks(engine).begin(name, os.environ[WORKER_NAME], model_version(), redelivered=redelivered)
    except (OtherModel, NoCampaign) as error:
        log().error("task refused", error=str(error))
        return
    if work is None:
        log().info("nothing to do any more")
        return
    if work.starts > 1:
        metrics.REDELIVERIES.labels(name.kind.value).inc()
    with overtime(time_limits(settings(), work.task_seconds)[0]):
        pieces.perform(engine, name, work, permit)
    log().info("task done")


@app.task(name="mmufuzz.pulse", expires=PULSE_EXPIRES_SECONDS)
def pulse() -> None:
    """Move all running campaigns on."""
    for campaign in running_campaigns(WorkerProcess.database()):
        move_on(campaign)


def move_on(campaign: int) -> None:
    """Dispatch a campaign and publish what is to be done.  Raises StoreUnavailable."""
    moved = dispatch(WorkerProcess.database(), campaign, patience(settings()))
    if moved is None:
        return
    if moved.ended is not None:
        log().info("campaign ended", campaign=campaign, state=moved.ended.value)
    if not moved.slots and moved.model_version != model_version():
        explain = "start a worker of that version, or create the campaign anew"
        log().warning("campaign refused", campaign=campaign, model=moved.model_version, own=model_version(), do=explain)
    publish(moved)


def publish(moved: Dispatched) -> None:
    """Send the tasks to the broker; what does not go out now is published again later."""
    soft, hard = message_limits(settings(), moved.task_seconds)
    try:
        for name in moved.publish:
            perform.apply_async(
                (msgspec.to_builtins(name),),
                queue=queue_of(name.kind, moved.model_version),
                soft_time_limit=soft,
                time_limit=hard,
            )
    except OperationalError as error:
        log().warning("broker gone, tasks will be published later", error=str(error))


@contextmanager
def retried(task: Task[Any, Any]) -> Iterator[None]:
    """Retry the block's task with backoff and full jitter: patiently if the database is gone, else a few times."""
    try:
        yield
    except Exception as error:
        count_error(error)
        patient = isinstance(error, StoreUnavailable)
        countdown = get_exponential_backoff_interval(1, task.request.retries, RETRY_SECONDS_MAX, full_jitter=True)
        log().warning("task will be retried", error=f"{type(error).__name__}: {error}", retries=task.request.retries)
        raise task.retry(
            exc=error, countdown=countdown, max_retries=OUTAGE_RETRIES if patient else ERROR_RETRIES
        ) from error
