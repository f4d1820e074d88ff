# SPDX-License-Identifier: GPL-2.0-only
"""The HTTP server of the dashboard: it ends in good order though pages listen to it all the time."""

import socket
from typing import Final

import uvicorn
from fastapi import FastAPI

from dashboard.streams import Streams

# Beyond the streams, which end at once, a page or a replay is on its way.
_GRACE_SECONDS: Final = 30


class _Server(uvicorn.Server):
    """Ends the streams first: uvicorn waits for all answers, and these go on for ever."""

    def __init__(self, config: uvicorn.Config, streams: Streams) -> None:
        super().__init__(config)
        self._streams = streams

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._streams.close()
        await super().shutdown(sockets)


def run(app: FastAPI, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C; what is being answered then is finished."""
    # Sizes and rates are the application's business; here only what keeps a slow client from holding a connection.
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        limit_concurrency=200,
        log_level="info",
    )
    _Server(config, app.state.streams).run()
