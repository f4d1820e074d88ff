# SPDX-License-Identifier: GPL-2.0-only
"""The application: routes, what stands around them, and how errors are told."""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from dashboard.access import Guard, NotAllowed, NotSignedIn, session_key
from dashboard.answers import TooManyDownloads
from dashboard.api import PREFIX, BadBody, api, openapi_components
from dashboard.changelog import catalogue
from dashboard.following import following, following_api
from dashboard.headers import StrictHeaders
from dashboard.holes import holes, holes_api
from dashboard.limits import Limits
from dashboard.live import live, live_api
from dashboard.pages import pages, problem_page, read_templates
from dashboard.replaying import Replayer, ReplayFailed
from dashboard.resampling import Resampling
from dashboard.searched import searched, searched_api
from dashboard.service import NotFound, Service
from dashboard.settings import LOOPBACK, Settings
from dashboard.snapshots import Snapshots
from dashboard.steering import steering, steering_api
from dashboard.streams import Streams, TooManyStreams
from dashboard.uploads import BadProgram, Uploads
from dashboard.workforce import workforce, workforce_api
from db.campaigns import NoCampaign
from db.fleets import Fleets
from db.listing import BadCursor, Listing
from db.replays import Replays, TooManyWaiting
from db.schema import Level
from db.session import StoreError, utc_now
from db.store import Store
from db.tokens import Tokens
from reference_mmu import __version__
from workers.launch import BadWish

STATIC: Final = Path(__file__).parent / "static"
_COMPRESSED_FROM: Final = 1024

# The most special first: a BadCursor and a NoCampaign are StoreErrors, too.
_STATUS: Final[dict[type[Exception], int]] = {
    NotSignedIn: 401,
    NotAllowed: 403,
    NotFound: 404,
    NoCampaign: 404,
    BadBody: 400,
    BadProgram: 400,
    BadWish: 400,
    BadCursor: 400,
    TooManyWaiting: 429,
    TooManyStreams: 429,
    TooManyDownloads: 429,
    StoreError: 400,
    ReplayFailed: 422,
    RequestValidationError: 422,
}

# /campaigns/new comes before /campaigns/{campaign}.
_ROUTERS: Final = (
    *(steering, steering_api, live, live_api, workforce, workforce_api, holes, holes_api),
    *(following, following_api, searched, searched_api, api, pages),
)


class _Static(StaticFiles):
    """Files that are the same for everybody: kept by browsers, which ask whether they have changed."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(
    settings: Settings,
    engine: Engine,
    secret: str | None,
    now: Callable[[], datetime] = utc_now,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """The application on an open database.  `secret` is the administrator's token; without one everybody may read and
    operate, at a loopback address only."""
    tokens = Tokens(engine, now)
    if secret is not None:
        tokens.adopt("administrator", secret, Level.ADMIN)
    replayer = Replayer(settings.replay_seconds, settings.replay_megabytes, settings.replays_at_once)
    replays = Replays(engine, now)
    uploads = Uploads(replays, replayer)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Reading the model's sources and the templates takes a second: better now than at the first visit.
        catalogue()
        read_templates()
        uploads.resume()
        yield
        # What is in a child is finished, and what waits behind it is not begun.
        replayer.close()
        uploads.close()

    # The bundled pages for OpenAPI load scripts from elsewhere: not these.
    app = FastAPI(
        title="mmufuzz",
        version=__version__,
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    key = session_key(secret if secret is not None else secrets.token_urlsafe())
    app.state.guard = Guard(tokens, key, settings.session_seconds, None if secret is not None else Level.OPERATE)
    app.state.service = Service(
        engine=engine,
        store=Store(engine, now),
        fleets=Fleets(engine, now),
        listing=Listing(engine),
        tokens=tokens,
        replays=replays,
        replayer=replayer,
        uploads=uploads,
        resampling=Resampling(replayer),
        now=now,
    )
    app.state.streams = Streams(settings.progress_seconds)
    app.state.snapshots = Snapshots(settings.progress_seconds)
    for router in _ROUTERS:
        app.include_router(router)
    app.mount("/static", _Static(directory=STATIC), name="static")
    app.add_middleware(GZipMiddleware, minimum_size=_COMPRESSED_FROM)
    app.add_middleware(Limits, at_once=settings.requests_at_once, per_second=settings.requests_per_second, clock=clock)
    if secret is None:
        # Else a page of another site could reach it under a name of its own that resolves to this address.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    app.add_middleware(StrictHeaders)
    for error in _STATUS:
        app.add_exception_handler(error, _tell)
    app.add_exception_handler(HTTPException, _tell_http)
    describe = app.openapi
    app.openapi = lambda: _with_components(describe())  # type: ignore[method-assign]
    return app


def _tell(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    if isinstance(error.__cause__, OperationalError):
        status = 503  # the database is away; what was asked may be fine
    if isinstance(error, NotSignedIn) and not _is_api(request) and request.method == "GET":
        return RedirectResponse("/login", 303)
    text = str(error) or "a valid token is needed"
    if isinstance(error, RequestValidationError):
        problem = error.errors()[0]
        text = f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return _problem(request, status, text, headers)


def _tell_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, str(error.detail), dict(error.headers or {}))


def _problem(request: Request, status: int, text: str, headers: dict[str, str]) -> Response:
    if _is_api(request):
        return JSONResponse({"error": text}, status, headers)
    return problem_page(request, status, text, headers)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(f"{PREFIX}/")


def _with_components(described: dict[str, Any]) -> dict[str, Any]:
    described.setdefault("components", {}).setdefault("schemas", {}).update(openapi_components())
    return described
