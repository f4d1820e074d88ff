# SPDX-License-Identifier: GPL-2.0-only
"""The broker's queues as a worker reads them, where anybody may have left anything."""

from queue import Empty
from typing import Any

from kombu.transport import redis

from workers.logs import log


class Mailbox(redis.Channel):
    """Drops what is no message.  Kombu has it taken from the queue by then and raises, which ends the worker."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # unknown to celery-types
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log().error("message dropped", error=f"{type(error).__name__}: {error}")
            raise Empty from error


def use_mailbox() -> None:
    """Have Celery read its queues through it."""
    redis.Transport.Channel = Mailbox
