# SPDX-License-Identifier: GPL-2.0-only
"""Who is asking, and may he?  Programs show a bearer token; people sign in with one and get a signed session.

A session names its token, which is looked up at every request: a revoked token ends its sessions at once.
"""

import hashlib
import hmac
import logging
import secrets
from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import Depends, Request, Response
from itsdangerous import BadSignature, URLSafeTimedSerializer
from starlette.concurrency import run_in_threadpool

from db.schema import Level
from db.tokens import Token, Tokens
from reference_mmu.record import Record

COOKIE: Final = "mmufuzz_session"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "X-CSRF-Token"
_RANK: Final = {Level.READ: 0, Level.OPERATE: 1, Level.ADMIN: 2}
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
# Below uvicorn's own logger, which `mmufuzz dashboard` writes to standard error.
_LOG: Final = logging.getLogger("uvicorn.mmufuzz")


class NotSignedIn(Exception):
    """No token, or one that is unknown or revoked."""


class NotAllowed(Exception):
    """A valid token of too low a level, or a request that another site made."""


class Visitor(Record):
    """Who asks. `csrf` is what his forms must carry, "" for a program."""

    name: str
    level: Level
    csrf: str

    def may(self, level: Level) -> bool:
        return _RANK[self.level] >= _RANK[level]


class Guard:
    """Knows the tokens, and signs sessions with `key`.  With `open_level` everybody has that level."""

    def __init__(self, tokens: Tokens, key: bytes, session_seconds: int, open_level: Level | None) -> None:
        self._tokens = tokens
        self._key = key
        self._signer = URLSafeTimedSerializer(key, salt="session")
        self._seconds = session_seconds
        self._open_level = open_level

    @property
    def is_open(self) -> bool:
        """Does it let everybody in?"""
        return self._open_level is not None

    def sign_in(self, secret: str, response: Response, secure: bool) -> bool:
        """Start a session on the response; False if the token is not valid. `secure`: the page came by https."""
        token = self._tokens.valid(secret)
        if token is None:
            return False
        value = self._signer.dumps([token.digest, secrets.token_urlsafe(16)])
        response.set_cookie(
            COOKIE, value, max_age=self._seconds, httponly=True, samesite="strict", secure=secure, path="/"
        )
        return True

    def visitor(self, request: Request) -> Visitor:
        """Who asks.  Raises NotSignedIn."""
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme:
            token = self._tokens.valid(secret.strip()) if scheme.lower() == "bearer" else None
            if token is None:
                raise NotSignedIn
            return Visitor(token.name, token.level, "")
        if self._open_level is not None:
            return Visitor("anyone", self._open_level, self._csrf("open"))
        cookie = request.cookies.get(COOKIE, "")
        token = self._of_session(cookie)
        if token is None:
            raise NotSignedIn
        return Visitor(token.name, token.level, self._csrf(cookie))

    def check_form(self, visitor: Visitor, request: Request, told: str) -> None:
        """Raise NotAllowed unless the request was made by a page of ours, or by a program. A bearer token needs no
        further proof: no browser sends it by itself. But a proxy that signs people in may add it to what they send."""
        check_origin(request)
        if visitor.csrf and not hmac.compare_digest(told.encode(), visitor.csrf.encode()):
            raise NotAllowed("the form has expired; load the page again")

    def _of_session(self, cookie: str) -> Token | None:
        try:
            digest, _ = self._signer.loads(cookie, max_age=self._seconds)
        except (BadSignature, ValueError, TypeError):
            return None
        return self._tokens.by_digest(str(digest))

    def _csrf(self, session: str) -> str:
        return hmac.new(self._key, f"csrf {session}".encode(), hashlib.sha256).hexdigest()


def session_key(secret: str) -> bytes:
    """The key that sessions are signed with, made from the token file's content."""
    return hmac.new(secret.encode(), b"mmufuzz session", hashlib.sha256).digest()


def check_origin(request: Request) -> None:
    """Raise NotAllowed for a request that the browser says another site made."""
    site = request.headers.get("Sec-Fetch-Site", "none")
    origin = request.headers.get("Origin")
    if site not in ("same-origin", "none") or (origin and urlsplit(origin).netloc != request.headers.get("Host")):
        raise NotAllowed("the request came from another site")


def guard_of(request: Request) -> Guard:
    guard = request.app.state.guard
    assert isinstance(guard, Guard)
    return guard


async def _at_least(level: Level, request: Request) -> Visitor:
    guard = guard_of(request)
    # Whoever waits for the database waits alone.
    visitor = await run_in_threadpool(guard.visitor, request)
    if not visitor.may(level):
        raise NotAllowed(f"this needs a token of level '{level}', yours has '{visitor.level}'")
    if request.method not in _SAFE:
        told = request.headers.get(CSRF_HEADER)
        if told is None and visitor.csrf and "form" in request.headers.get("Content-Type", ""):
            told = str((await request.form()).get(CSRF_FIELD, ""))
        guard.check_form(visitor, request, told or "")
        _LOG.info("%s (%s): %s %r", visitor.name, visitor.level, request.method, request.url.path)
    return visitor


async def _reader(request: Request) -> Visitor:
    return await _at_least(Level.READ, request)


async def _operator(request: Request) -> Visitor:
    return await _at_least(Level.OPERATE, request)


async def _admin(request: Request) -> Visitor:
    return await _at_least(Level.ADMIN, request)


Reader = Annotated[Visitor, Depends(_reader)]
Operator = Annotated[Visitor, Depends(_operator)]
Admin = Annotated[Visitor, Depends(_admin)]
