# SPDX-License-Identifier: GPL-2.0-only
"""Settings of a worker: environment variables with the prefix MMUFUZZ_, e.g. MMUFUZZ_BROKER.

Those that may hold a password can be read from files, see cli/secret_files.py.
"""

from functools import cache
from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from workers.permits import PERMIT_SECONDS
from workers.refusal import BadInput

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseSettings):
    """What a worker must know, and the times after which somebody loses patience."""

    model_config = SettingsConfigDict(env_prefix="MMUFUZZ_", extra="ignore", frozen=True)

    broker: SecretStr = SecretStr("redis://localhost:6379/0")
    """URL of the Redis server; secret because it may hold a password."""
    database: SecretStr = SecretStr("postgresql+psycopg://localhost/mmufuzz")
    """URL of the PostgreSQL database."""
    soft_limit_seconds: Seconds = 240
    """A task that takes longer is told to end; it counts as failed."""
    hard_limit_seconds: Seconds = 300
    """A task that takes longer is killed."""
    visibility_seconds: Seconds = 900
    """The broker hands a message out again if it was not acknowledged for so long."""
    resend_seconds: Seconds = 60
    """A task that nobody has begun is published again after so long."""
    pulse_seconds: Seconds = 2
    """How often each worker asks for the campaigns to be dispatched."""
    tasks_per_process: Annotated[int, Field(ge=1)] = 2000
    """A search process is replaced after so many tasks: what it may have leaked goes with it."""
    webhook_url: SecretStr = SecretStr("")
    """Who is told of the first finding of a signature with verdict regression or unexplained; "" for nobody."""
    webhook_secret: SecretStr = SecretStr("")
    """What the messages are signed with; needed with webhook_url."""
    webhook_hourly_max: Annotated[int, Field(ge=1, le=10_000)] = 30
    """Messages tried within an hour, by the whole fleet together."""
    webhook_stopped: bool = False
    """Tell nobody for now; what is younger than a day is told when this ends."""
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Where this worker serves /metrics to Prometheus; 0 for nowhere."""
    metrics_address: str = "127.0.0.1"
    """The address to serve it at; there is no password."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.soft_limit_seconds < self.hard_limit_seconds < self.visibility_seconds - PERMIT_SECONDS:
            raise ValueError(
                f"soft_limit_seconds < hard_limit_seconds < visibility_seconds - {PERMIT_SECONDS} must hold"
            )
        if self.webhook_url.get_secret_value() and not self.webhook_secret.get_secret_value():
            raise ValueError("webhook_url needs a webhook_secret")
        return self

    def notifies(self) -> bool:
        """Is anybody to be told of findings?"""
        return bool(self.webhook_url.get_secret_value()) and not self.webhook_stopped


@cache
def settings() -> Settings:
    """The settings of this process.  Raises BadInput."""
    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(["MMUFUZZ", *(str(part).upper() for part in problem["loc"])])
        raise BadInput(f"{name}: {problem['msg']}; mend the environment") from error
