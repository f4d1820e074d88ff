# SPDX-License-Identifier: GPL-2.0-only
"""Answers that carry an ETag, so that asking again for what has not changed costs no transfer."""

import hashlib
import threading
from collections.abc import Iterator
from typing import Final

import msgspec
from fastapi import Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

STREAMED_AT_ONCE_MAX: Final = 4
"""How many large files are sent at a time: each may hold some ten megabytes for as long as its reader likes."""


class TooManyDownloads(Exception):
    """No more large files may be sent at once; the message is one line."""


def answer(request: Request, body: bytes, media_type: str, name: str | None = None) -> Response:
    """The body, or 304 if the asker has it already; with a `name` as a file to be saved."""
    headers = _headers(body, name)
    if _has(request, headers["ETag"]):
        return _unchanged(headers)
    return Response(body, media_type=media_type, headers=headers)


def streamed(request: Request, content: object, pieces: Iterator[bytes], media_type: str, name: str) -> Response:
    """A file to be saved that is made while it is sent, or 304 if the asker has it already. `content`, which can be
    encoded as JSON, changes when the file does."""
    headers = _headers(msgspec.json.encode(content), name)
    if _has(request, headers["ETag"]):
        return _unchanged(headers)
    return _Streamed(pieces, media_type=media_type, headers=headers)


def json_answer(request: Request, content: object) -> Response:
    return answer(request, msgspec.json.encode(content), "application/json")


def _headers(content: bytes, name: str | None) -> dict[str, str]:
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()[:32]}"', "Cache-Control": "private, no-cache"}
    return headers if name is None else headers | {"Content-Disposition": f'attachment; filename="{name}"'}


def _has(request: Request, etag: str) -> bool:
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    return etag in known or "*" in known


def _unchanged(headers: dict[str, str]) -> Response:
    return Response(status_code=304, headers={name: headers[name] for name in ("ETag", "Cache-Control")})


class _Streamed(StreamingResponse):
    """Takes a place before the first byte, so that a refusal is an answer with its own status."""

    _places = threading.BoundedSemaphore(STREAMED_AT_ONCE_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._places.acquire(blocking=False):
            raise TooManyDownloads(f"{STREAMED_AT_ONCE_MAX} large files are being sent already; try again in a minute")
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._places.release()
