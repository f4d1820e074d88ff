# SPDX-License-Identifier: GPL-2.0-only
"""The Celery application: its whole configuration, with the reason of each setting."""

from math import ceil
from typing import Any, Final

from celery import Celery
from celery.signals import setup_logging
from kombu import Exchange, Queue

from db.dispatch import Patience
from db.schema import TaskKind
from reference_mmu.version import model_version
from workers.logs import configure_logs
from workers.permits import PERMIT_SECONDS
from workers.settings import Settings, settings

CONTROL_QUEUE: Final = "mmufuzz-control"
"""Pulses of the dispatcher: any worker takes them."""

# Retries of one task, counted together.  Full jitter on 1, 2, 4, … 30 s makes two minutes on average, so that an outage
# of the database of a minute is outlasted; what fails for another reason is tried only thrice.
OUTAGE_RETRIES: Final = 12
ERROR_RETRIES: Final = 2
RETRY_SECONDS_MAX: Final = 30


def queue_of(kind: TaskKind, model: str) -> str:
    """A queue per model version: workers of another one never see its tasks.

    Batches have one of their own, and Celery takes from its queues in turn, so that a flood of findings to judge and to
    minimize never stops the search, nor the other way round.
    """
    return f"mmufuzz-{'batches' if kind is TaskKind.BATCH else 'findings'}-{model}"


def patience(chosen: Settings) -> Patience:
    """When the dispatcher publishes a task again; a begun one may be waiting for its next retry."""
    return Patience(chosen.resend_seconds, chosen.hard_limit_seconds + 2 * RETRY_SECONDS_MAX)


def time_limits(chosen: Settings, task_seconds: int | None) -> tuple[int, int]:
    """Soft and hard limit of a campaign's tasks: its own, if that is less than the workers' is."""
    soft, hard = chosen.soft_limit_seconds, chosen.hard_limit_seconds
    shorter = soft if task_seconds is None else min(soft, task_seconds)
    return ceil(shorter), ceil(shorter + hard - soft)


def message_limits(chosen: Settings, task_seconds: int | None = None) -> tuple[int, int]:
    """Soft and hard limit of a message: Celery's clock runs while the task waits for its permit, too."""
    soft, hard = time_limits(chosen, task_seconds)
    return soft + PERMIT_SECONDS, hard + PERMIT_SECONDS


def make_app(chosen: Settings) -> Celery:
    """The application for these settings."""
    soft, hard = message_limits(chosen)
    app = Celery("mmufuzz", broker=chosen.broker.get_secret_value(), include=["workers.tasks", "workers.chores"])
    app.conf.update(
        # JSON alone: a pickle is code that the sender runs here.
        task_serializer="json",
        accept_content=["json"],
        # Results go to the database in the transaction that makes them count; nobody waits for one.
        task_ignore_result=True,
        result_backend=None,
        # Acknowledged after the transaction: whoever dies before it leaves the message to another.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        # Not after a hard time limit, either.  Endless redelivery is stopped by db.tasks.STARTS_MAX.
        task_acks_on_failure_or_timeout=True,
        # One message in hand per process, and so one more than slots: what waits here could be run elsewhere.
        worker_prefetch_multiplier=1,
        # After a lost connection Celery takes fewer messages until those in hand are acknowledged; but the broker may
        # have forgotten them, and then it would take none for ever.
        worker_enable_prefetch_count_reduction=False,
        task_soft_time_limit=soft,
        task_time_limit=hard,
        # Longer than any task may take, or the broker would hand out what is still being run.
        broker_transport_options={
            "visibility_timeout": chosen.visibility_seconds,
            "queue_order_strategy": "round_robin",
            # A broker that does not answer is one that is gone.
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
        },
        # Wait for the broker for ever, at start as later: a fleet is not restarted by hand after an outage.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # What cannot be published now is published by the next dispatch: do not hold a task up for it.
        task_publish_retry=False,
        worker_max_tasks_per_child=chosen.tasks_per_process,
        # After the first SIGTERM tasks in hand are finished; after a second they are given back within this time.
        worker_soft_shutdown_timeout=10.0,
        # A lost connection loses the acknowledgement, too; the result counts once all the same.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        # print() of a library belongs to the terminal, not into a log line.
        worker_redirect_stdouts=False,
        task_create_missing_queues=False,
        task_default_queue=CONTROL_QUEUE,
        task_queues=[direct_queue(name) for name in queue_names()],
    )
    return app


def queue_names() -> list[str]:
    """The queues of a worker of this model version."""
    model = model_version()
    return [CONTROL_QUEUE, queue_of(TaskKind.BATCH, model), queue_of(TaskKind.JUDGE, model)]


def direct_queue(name: str) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


@setup_logging.connect
def _own_logs(**_signal: Any) -> None:
    """Celery leaves the root logger alone if somebody listens here."""
    configure_logs()


app: Final = make_app(settings())
