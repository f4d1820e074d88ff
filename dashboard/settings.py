# SPDX-License-Identifier: GPL-2.0-only
"""Settings of the dashboard: environment variables with the prefix MMUFUZZ_, or options of `mmufuzz dashboard`."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from db.session import DEFAULT_URL

TOKEN_CHARS_MIN: Final = 32
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Settings(BaseSettings):
    """Where the findings are, who may see them, and how much one visitor may ask for."""

    model_config = SettingsConfigDict(env_prefix="MMUFUZZ_", extra="ignore", frozen=True)

    database: SecretStr = SecretStr(DEFAULT_URL)
    """URL of the database; secret because it may hold a password."""
    token_file: Path | None = None
    """File with the token of the first administrator; sessions are signed with a key made from it."""
    without_tokens: bool = False
    """Whoever reaches the address may read and operate. Only on a loopback address."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8300
    session_seconds: Annotated[int, Field(ge=60, le=604_800)] = 43_200
    """Seconds after which one has to sign in again."""
    requests_per_second: Annotated[float, Field(gt=0)] = 20
    """Requests per second that one address may make in the long run."""
    requests_at_once: Annotated[int, Field(ge=1)] = 200
    """Requests that one address may make at once after it was quiet."""
    replay_seconds: Annotated[int, Field(ge=1, le=600)] = 20
    """Processor time of one replay; it may take four times as long by the clock."""
    replay_megabytes: Annotated[int, Field(ge=64, le=65_536)] = 512
    """Address space of one replay."""
    replays_at_once: Annotated[int, Field(ge=1, le=64)] = 2
    """Replays that run at a time. One of them may be a search or find out chances; with 1 that keeps the replays of
    pages waiting."""
    progress_seconds: Annotated[float, Field(gt=0, le=60)] = 1
    """How often pages that are open are told of progress; the database gets the tenth of the time at most."""
