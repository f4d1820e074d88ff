# SPDX-License-Identifier: GPL-2.0-only
"""The broker's queues as a worker reads them, where anybody may have left anything."""

from queue import Empty
from typing import Any, ClassVar

from kombu.transport import redis
from kombu.transport.virtual import Message

from workers.logs import log


class Letter(Message):
    """A message of a task, which is acknowledged when the task has ended.

    If the broker dies just then, Kombu closes the connection that it listens to without noticing, and takes fewer
    messages for ever: it waits for the acknowledgement of one that nobody has in hand any more.
    """

    unacknowledged: ClassVar[int] = 0
    """How many acknowledgements this process has lost and nobody has seen to yet."""

    def ack_log_error(self, logger: Any, errors: Any, multiple: bool = False) -> None:
        """Log what went wrong, as Kombu does, and count it if the letter is still unacknowledged."""
        super().ack_log_error(logger, errors, multiple)
        if not self.acknowledged:
            Letter.unacknowledged += 1


class Mailbox(redis.Channel):
    """Drops what is no message.  Kombu has it taken from the queue by then and raises, which ends the worker."""

    Message = Letter

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[misc]  # unknown to celery-types
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            log().error("message dropped", error=f"{type(error).__name__}: {error}")
            raise Empty from error


def use_mailbox() -> None:
    """Have Celery read its queues through it."""
    redis.Transport.Channel = Mailbox
