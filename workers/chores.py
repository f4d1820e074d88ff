# SPDX-License-Identifier: GPL-2.0-only
"""The Celery tasks that belong to no campaign: `chores` looks what there is, `recheck` and `notify` do it."""

import os
import time
from typing import Any, Final

import msgspec
from celery import Task
from kombu.exceptions import OperationalError

from db.notifications import Notifications
from db.rechecks import Rechecks
from db.schema import TaskKind
from fuzzer.judge.finding import Natural
from reference_mmu.version import model_version
from workers import metrics
from workers.app import CONTROL_QUEUE, app, queue_of
from workers.logs import log
from workers.metrics import Delivery
from workers.overtime import overtime
from workers.rechecking import rechecked
from workers.settings import settings
from workers.tasks import PULSE_EXPIRES_SECONDS, WORKER_NAME, WorkerProcess, put_back
from workers.webhook import NotDelivered, post

_RECHECKS_AT_A_TIME: Final = 16


@app.task(name="mmufuzz.chores", expires=PULSE_EXPIRES_SECONDS)
def chores() -> None:
    """Publish what is due.  What the broker loses becomes due again."""
    engine = WorkerProcess.database()
    try:
        if settings().notifies() and Notifications(engine).is_due():
            notify.apply_async(queue=CONTROL_QUEUE)
        for finding in Rechecks(engine, model_version()).claim(_RECHECKS_AT_A_TIME):
            recheck.apply_async((finding,), queue=queue_of(TaskKind.JUDGE, model_version()))
    except OperationalError as error:
        log().warning("broker gone, chores will be done later", error=str(error))


@app.task(bind=True, name="mmufuzz.recheck")
def recheck(self: Task[Any, Any], message: object) -> None:
    """Run the reproducer of a finding with this model version."""
    try:
        finding = msgspec.convert(message, Natural)
    except msgspec.ValidationError as error:
        log().error("message dropped", error=str(error))
        return
    rechecks = Rechecks(WorkerProcess.database(), model_version())
    body = rechecks.body(finding)
    if body is None:
        log().info("nothing to recheck any more", finding=finding)
        return
    permit = WorkerProcess.permit()
    if permit is None:
        put_back(self)
        return
    with permit, overtime(settings().soft_limit_seconds):
        seen = rechecked(body)
    moved = rechecks.store(finding, seen, os.environ[WORKER_NAME])
    if moved is not None:
        metrics.RECHECKS.labels(moved.after.value).inc()
        log().info("rechecked", finding=finding, before=moved.before.value, after=moved.after.value, why=seen.why)


@app.task(name="mmufuzz.notify", expires=PULSE_EXPIRES_SECONDS)
def notify() -> None:
    """Send what is due, one after the other, as far as the rate allows; not on after a failure, which is a slow one."""
    chosen = settings()
    if not chosen.notifies():
        return
    notifications = Notifications(WorkerProcess.database())
    while (notice := notifications.begin(chosen.webhook_hourly_max)) is not None:
        try:
            post(
                chosen.webhook_url.get_secret_value(),
                chosen.webhook_secret.get_secret_value(),
                str(int(time.time())),
                f"mmufuzz-{notice.number}",
                notice.body,
            )
        except NotDelivered as error:
            notifications.failed(notice.number, str(error))
            metrics.NOTIFICATIONS.labels(Delivery.FAILED.value).inc()
            log().warning("notification failed", signature=notice.signature, error=str(error))
            return
        notifications.sent(notice.number)
        metrics.NOTIFICATIONS.labels(Delivery.SENT.value).inc()
        log().info("notified", signature=notice.signature)
