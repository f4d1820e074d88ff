# SPDX-License-Identifier: GPL-2.0-only
"""Tokens: made once, valid until revoked, adopted from a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.schema import Level
from db.session import StoreError, open_database
from db.tokens import Tokens, digest_of


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    engine = open_database(f"sqlite:///{tmp_path / 'mmufuzz.db'}")
    yield Tokens(engine)
    engine.dispose()


def test_a_token_is_valid_until_it_is_revoked(tokens: Tokens) -> None:
    secret = tokens.create("ci", Level.OPERATE)
    token = tokens.valid(secret)
    assert token is not None
    assert (token.name, token.level, token.digest) == ("ci", Level.OPERATE, digest_of(secret))
    assert tokens.by_digest(token.digest) == token
    tokens.revoke(token.id)
    assert tokens.valid(secret) is None
    assert tokens.by_digest(token.digest) is None
    assert [t.revoked_at is not None for t in tokens.all()] == [True]
    with pytest.raises(StoreError, match="no token 1 that is not revoked"):
        tokens.revoke(token.id)


def test_no_two_are_alike(tokens: Tokens) -> None:
    secrets = {tokens.create(f"token {number}", Level.READ) for number in range(20)}
    assert len(secrets) == 20
    assert min(map(len, secrets)) >= 43


def test_unknown_ones_are_not_valid(tokens: Tokens) -> None:
    tokens.create("ci", Level.ADMIN)
    assert tokens.valid("") is None
    assert tokens.valid("nosuch") is None


def test_a_name_is_given_once(tokens: Tokens) -> None:
    tokens.create("ci", Level.READ)
    with pytest.raises(StoreError, match="a token named 'ci' already"):
        tokens.create("ci", Level.READ)
    for bad in ("", "a\nb", "x" * 65):
        with pytest.raises(StoreError, match="name of a token"):
            tokens.create(bad, Level.READ)


def test_an_adopted_one_replaces_what_the_file_held_before(tokens: Tokens) -> None:
    for secret in ("first", "first", "second"):
        tokens.adopt("administrator", secret, Level.ADMIN)
    assert tokens.valid("first") is None
    assert [token.name for token in tokens.all()] == ["administrator"]
    token = tokens.valid("second")
    assert token is not None
    assert token.level is Level.ADMIN


def test_an_adopted_one_is_valid_again_even_if_it_was_revoked(tokens: Tokens) -> None:
    """Who can restart the server with that file in place is whom it was to keep out at most by mistake."""
    tokens.adopt("administrator", "secret", Level.ADMIN)
    tokens.revoke(tokens.all()[0].id)
    assert tokens.valid("secret") is None
    tokens.adopt("administrator", "secret", Level.ADMIN)
    assert tokens.valid("secret") is not None
