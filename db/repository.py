# SPDX-License-Identifier: GPL-2.0-only
"""What all classes have that read and write one kind of thing in the database."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from db.session import utc_now


class Repository:
    """A part of the database behind `engine`. Every method is one transaction and raises StoreError; `now` is the time
    that it writes down."""

    def __init__(self, engine: Engine, now: Callable[[], datetime] = utc_now) -> None:
        self._engine = engine
        self._now = now
