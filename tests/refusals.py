# SPDX-License-Identifier: GPL-2.0-only
"""What is refused is refused in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def refused(error: type[Exception], said: str) -> Iterator[None]:
    """What is done meanwhile raises `error`, whose one line begins with `said`."""
    with pytest.raises(error) as raised:
        yield
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)
