# SPDX-License-Identifier: GPL-2.0-only
"""Logs: one JSON object a line on standard error, with the names of campaign, task and worker where they are known."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_TEXT_CHARS_MAX: Final = 2000


def clip(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Cut long texts: errors like to repeat what they were about, and that may be a message of a hundred megabytes."""
    return {key: value[:_TEXT_CHARS_MAX] if isinstance(value, str) else value for key, value in event.items()}


_SHARED: Final[list[Any]] = [
    clip,
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    # Without local variables: there are passwords among them, and whole models.
    structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False, max_frames=30)),
]
# They tell of every message, and of every connection to the database.
_TALKATIVE: Final = ("celery.worker.strategy", "celery.app.trace", "alembic")


def configure_logs() -> None:
    """Send everything, that of the libraries too, through one formatter.  Call it once per process."""
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Escapes everything that is no ASCII: a name from anywhere cannot draw on a terminal or end a line.
                structlog.processors.JSONRenderer(ensure_ascii=True),
            ],
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def log() -> Any:
    """The logger; structlog's own type is built at run time."""
    return structlog.get_logger("mmufuzz")
