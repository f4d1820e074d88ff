# SPDX-License-Identifier: GPL-2.0-only
"""Permits: processes that are forked from one share them, and the kernel takes them back from the dead."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from workers.permits import Permits

LONG = 60
"""Seconds to wait for what must come."""


@contextmanager
def forked(body: Callable[[int, int], None]) -> Iterator[tuple[int, int, int]]:
    """A process that runs `body` with one end of each of two pipes, to read and to write; gives its pid and the other
    ends."""
    theirs, ours = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            body(theirs[0], ours[1])
        finally:
            os._exit(0)
    try:
        yield pid, ours[0], theirs[1]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for descriptor in (*theirs, *ours):
            os.close(descriptor)


def hold(permits: Permits) -> Callable[[int, int], None]:
    """Take a permit, say so, and keep it until told to end it."""

    def body(told: int, tell: int) -> None:
        permit = permits.take(LONG)
        os.write(tell, b"none" if permit is None else b"have")
        os.read(told, 1)
        if permit is not None:
            permit.end()
        os.read(told, 1)

    return body


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_as_many_as_slots() -> None:
    permits = Permits(2)
    with forked(hold(permits)) as (_, one, _), forked(hold(permits)) as (_, other, _):
        assert (os.read(one, 4), os.read(other, 4)) == (b"have", b"have")
        assert permits.take(0) is None


def test_the_next_one_gets_what_is_ended() -> None:
    permits = Permits(1)
    with forked(hold(permits)) as (_, holder, end):
        assert os.read(holder, 4) == b"have"
        os.write(end, b"!")
        assert permits.take(LONG) is not None


def test_the_next_one_gets_what_a_dead_one_had() -> None:
    permits = Permits(1)
    with forked(hold(permits)) as (pid, holder, _):
        assert os.read(holder, 4) == b"have"
        os.kill(pid, signal.SIGKILL)
        assert permits.take(LONG) is not None


def test_a_block_gives_its_permit_back_however_it_is_left() -> None:
    permits = Permits(1)
    permit = permits.take(0)
    assert permit is not None
    with pytest.raises(ZeroDivisionError), permit:
        raise ZeroDivisionError
    with forked(hold(permits)) as (_, holder, _):
        assert os.read(holder, 4) == b"have"


def test_nobody_waits_when_the_worker_ends() -> None:
    permits = Permits(1)
    with forked(hold(permits)) as (_, holder, _):
        assert os.read(holder, 4) == b"have"
        permits.close()
        with forked(hold(permits)) as (_, waiter, _):
            assert os.read(waiter, 4) == b"none"
