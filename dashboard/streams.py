# SPDX-License-Identifier: GPL-2.0-only
"""Streams of Server-Sent Events: who listens is told at once how things are, and then whenever that changed.

A stream ends when there is nothing more to tell, when the listener goes away or may listen no longer, and when the
server is to end: without that a server would wait for its listeners for ever.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

AT_ONCE_MAX: Final = 100
AT_ONCE_OF_ADDRESS_MAX: Final = 20
# A proxy takes a connection that is silent for long for a dead one.
_SILENCE_SECONDS_MAX: Final = 15
# What is told may take a large database a while: it gets this share of the time at most.
_REST: Final = 10


class TooManyStreams(Exception):
    """No more listeners are taken; the message is one line."""


class StreamEvent(NamedTuple):
    """What a listener is told, None if there is nothing to tell this time. `last`: there will be nothing more."""

    data: str | None
    last: bool


class Streams:
    """The streams of a server, which looks every `seconds` for something new to tell."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._listeners: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End all streams, and those that are begun from now on after their first event."""
        self._closing.set()

    def stream(self, request: Request, tell: Callable[[], StreamEvent]) -> StreamingResponse:
        """An answer that goes on. `tell` is called in a thread, again and again."""
        return _Stream(self, request, tell)

    @contextmanager
    def seat(self, address: str) -> Iterator[None]:
        """A place among the listeners.  Raises TooManyStreams."""
        if self._listeners.total() >= AT_ONCE_MAX or self._listeners[address] >= AT_ONCE_OF_ADDRESS_MAX:
            raise TooManyStreams("too many pages are watching already; close some")
        self._listeners[address] += 1
        try:
            yield
        finally:
            self._listeners[address] -= 1
            self._listeners += Counter()  # drops those at zero

    async def events(self, tell: Callable[[], StreamEvent]) -> AsyncIterator[str]:
        """The text of a stream."""
        before: str | None = None
        said_at = time.monotonic()
        while True:
            began = time.monotonic()
            told = await run_in_threadpool(tell)
            took = time.monotonic() - began
            if told.data is not None and told.data != before:
                yield _event("progress", told.data)
                before, said_at = told.data, time.monotonic()
            elif time.monotonic() - said_at > _SILENCE_SECONDS_MAX:
                yield ": nothing new\n\n"
                said_at = time.monotonic()
            if told.last:
                yield _event("end", "")
                return
            try:
                await asyncio.wait_for(self._closing.wait(), max(self.seconds, _REST * took))
                return
            except TimeoutError:
                continue


class _Stream(StreamingResponse):
    """Takes a listener's place before headers are sent, so that a full house is still answered by its own status."""

    def __init__(self, streams: Streams, request: Request, tell: Callable[[], StreamEvent]) -> None:
        super().__init__(streams.events(tell), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        self._streams = streams
        self._address = request.client.host if request.client else "unknown"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.seat(self._address):
            await super().__call__(scope, receive, send)


def _event(name: str, data: str) -> str:
    return f"event: {name}\n" + "".join(f"data: {line}\n" for line in data.splitlines() or [""]) + "\n"
