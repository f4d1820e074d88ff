# SPDX-License-Identifier: GPL-2.0-only
"""Answers that carry an ETag, so that asking again for what has not changed costs no transfer."""

import hashlib

import msgspec
from fastapi import Request, Response


def answer(request: Request, body: bytes, media_type: str, name: str | None = None) -> Response:
    """The body, or 304 if the asker has it already; with a `name` as a file to be saved."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    if name is not None:
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return Response(body, media_type=media_type, headers=headers)


def json_answer(request: Request, content: object) -> Response:
    return answer(request, msgspec.json.encode(content), "application/json")
