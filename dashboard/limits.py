# SPDX-License-Identifier: GPL-2.0-only
"""How much one address may ask for: requests per second, tries to sign in, bytes of a request."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fuzzer.reproducer import MAX_BYTES

_LOG: Final = logging.getLogger(__name__)
BODY_BYTES_MAX: Final = 64 << 10
UPLOAD_BYTES_MAX: Final = MAX_BYTES + (16 << 10)
"""Most bytes of an upload: a reproducer and what a form puts around it."""
_BODY_SECONDS_MAX: Final = 15
_ADDRESSES_MAX: Final = 10_000
# What costs or guesses: of these one address may make so many at once, and in the long run so many per second.
DEAR: Final = frozenset({"/login", "/replays", "/api/v1/replays"})
DEAR_AT_ONCE: Final = 10
DEAR_PER_SECOND: Final = 0.5


class Buckets:
    """Token buckets by key: `at_once` requests, refilled `per_second`. Of too many, the least lately used go."""

    def __init__(self, at_once: int, per_second: float, clock: Callable[[], float]) -> None:
        self._at_once = at_once
        self._per_second = per_second
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; 0, or in how many seconds there will be one."""
        now = self._clock()
        level, then = self._levels.pop(key, (float(self._at_once), now))
        level = min(self._at_once, level + (now - then) * self._per_second)
        taken = level >= 1
        self._levels[key] = (level - 1 if taken else level, now)
        if len(self._levels) > _ADDRESSES_MAX:
            self._levels.popitem(last=False)
        return 0 if taken else (1 - level) / self._per_second


class Limits:
    """Refuses with 429 who asks too often, and with 413 who sends too much."""

    def __init__(self, app: ASGIApp, at_once: int, per_second: float, clock: Callable[[], float]) -> None:
        self._app = app
        self._all = Buckets(at_once, per_second, clock)
        self._dear = Buckets(DEAR_AT_ONCE, DEAR_PER_SECOND, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        wait = self._wait(scope)
        if wait:
            headers = {"Retry-After": str(int(wait) + 1)}
            await PlainTextResponse("too many requests\n", 429, headers)(scope, receive, send)
            return
        limit = UPLOAD_BYTES_MAX if scope["path"] in DEAR else BODY_BYTES_MAX
        body = await _read(receive, limit) if scope["method"] not in ("GET", "HEAD") else b""
        if body is None:
            _LOG.warning("refused: a body of more than %d bytes, or not all of it, for %r", limit, scope["path"][:100])
            await PlainTextResponse(f"at most {limit} bytes\n", 413)(scope, receive, send)
            return
        await self._app(scope, _once(body, receive), send)

    def _wait(self, scope: Scope) -> float:
        client = scope.get("client")
        address = client[0] if client else "unknown"
        wait = self._all.take(address)
        if not wait and scope["path"] in DEAR and scope["method"] == "POST":
            wait = self._dear.take(address)
        return wait


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, None if it is too long or does not come: nobody acts upon half of what was meant."""
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS_MAX):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                body += message.get("body", b"")
                if len(body) > limit:
                    return None
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return None


def _once(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
