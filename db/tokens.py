# SPDX-License-Identifier: GPL-2.0-only
"""Tokens of the dashboard.  They are 256 random bits, so a plain hash keeps them: there is nothing to guess."""

import hashlib
import secrets
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, delete, insert, select, update

from db.repository import Repository
from db.schema import Level, TokenTable
from db.session import StoreError, transaction
from reference_mmu.record import Record

_BYTES: Final = 32
_NAME_CHARS_MAX: Final = 64
_SHOWN: Final = (
    TokenTable.id,
    TokenTable.name,
    TokenTable.digest,
    TokenTable.level,
    TokenTable.created_at,
    TokenTable.revoked_at,
)


class Token(Record):
    """A token as stored; `digest` is all that is kept of it."""

    id: int
    name: str
    digest: str
    level: Level
    created_at: datetime
    revoked_at: datetime | None


class Tokens(Repository):
    """The tokens in the database behind `engine`.  Every method is one transaction and raises StoreError."""

    def create(self, name: str, level: Level) -> str:
        """A new token, told this once."""
        _check_name(name)
        secret = secrets.token_urlsafe(_BYTES)
        with transaction(self._engine, "write") as connection:
            if connection.execute(select(TokenTable.id).where(TokenTable.name == name)).first() is not None:
                raise StoreError(f"there is a token named {name!r} already")
            connection.execute(insert(TokenTable).values(self._values(name, secret, level)))
        return secret

    def adopt(self, name: str, secret: str, level: Level) -> None:
        """Make `secret`, which somebody else keeps, the token of that name and the only one."""
        _check_name(name)
        digest = digest_of(secret)
        with transaction(self._engine, "write") as connection:
            stored = connection.execute(select(*_SHOWN).where(TokenTable.name == name)).mappings().first()
            as_wanted = (digest, level.value, None)
            if stored is not None and (stored["digest"], stored["level"], stored["revoked_at"]) == as_wanted:
                return
            same = (TokenTable.name == name) | (TokenTable.digest == digest)
            connection.execute(delete(TokenTable).where(same))
            connection.execute(insert(TokenTable).values(self._values(name, secret, level)))

    def revoke(self, token: int) -> None:
        """From now on it opens nothing."""
        with transaction(self._engine, "write") as connection:
            valid = (TokenTable.id == token) & TokenTable.revoked_at.is_(None)
            if not connection.execute(update(TokenTable).where(valid).values(revoked_at=self._now())).rowcount:
                raise StoreError(f"no token {token} that is not revoked")

    def valid(self, secret: str) -> Token | None:
        """The token, unless it is unknown or revoked."""
        return self._one(TokenTable.digest == digest_of(secret))

    def by_digest(self, digest: str) -> Token | None:
        """The token with that digest, unless it is unknown or revoked."""
        return self._one(TokenTable.digest == digest)

    def all(self) -> list[Token]:
        """Every token there is or was, oldest first."""
        with transaction(self._engine, "read") as connection:
            rows = connection.execute(select(*_SHOWN).order_by(TokenTable.id)).mappings()
            return [msgspec.convert(dict(row), Token) for row in rows]

    def _one(self, which: ColumnElement[bool]) -> Token | None:
        query = select(*_SHOWN).where(which, TokenTable.revoked_at.is_(None))
        with transaction(self._engine, "read") as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else msgspec.convert(dict(row), Token)

    def _values(self, name: str, secret: str, level: Level) -> dict[str, object]:
        return {"name": name, "digest": digest_of(secret), "level": level.value, "created_at": self._now()}


def digest_of(secret: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _check_name(name: str) -> None:
    if not name or len(name) > _NAME_CHARS_MAX or not name.isprintable():
        raise StoreError(f"name of a token: expected 1 to {_NAME_CHARS_MAX} printable characters")
