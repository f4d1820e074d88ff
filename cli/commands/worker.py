# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz worker`: search processes that do what campaigns ask for."""

from importlib import import_module
from typing import Final

import click

from cli.options import processes_option
from workers.exposition import exposition
from workers.refusal import BadInput

SLOTS_MAX: Final = 256


@click.command()
@processes_option("--slots", SLOTS_MAX)
def worker(slots: int) -> None:
    """Work for campaigns until told to stop.

    MMUFUZZ_BROKER and MMUFUZZ_DATABASE say where the Redis and PostgreSQL servers are. Logs go to standard error, one
    JSON object a line.

    \b
    Example:
      MMUFUZZ_BROKER=redis://queue.example:6379/0 \\
      MMUFUZZ_DATABASE=postgresql+psycopg://mmufuzz@db.example/mmufuzz \\
      mmufuzz worker --slots 8

    \b
    MMUFUZZ_METRICS_PORT=9464 serves Prometheus metrics at /metrics.
    SIGTERM or Ctrl-C lets the tasks in hand finish; a second one gives them back.
    A worker that is killed loses nothing: another one does its tasks.
    """
    try:
        # Only now: the other commands need no service.
        settings = import_module("workers.settings").settings()
        with exposition(settings.metrics_address, settings.metrics_port):
            code = import_module("workers.station").serve(slots)
    except ModuleNotFoundError as error:
        raise BadInput(f"{error.name} is not installed; get the service: pip install 'mmufuzz[service]'") from error
    raise click.exceptions.Exit(code)
