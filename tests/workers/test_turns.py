# SPDX-License-Identifier: GPL-2.0-only
"""Turns: processes that are forked from one share them, and the kernel takes them back from the dead."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from workers.turns import Turns

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


def hold(turns: Turns) -> Callable[[int, int], None]:
    """Take a turn, say so, and keep it until told to end it."""

    def body(told: int, tell: int) -> None:
        turn = turns.take(LONG)
        os.write(tell, b"none" if turn is None else b"have")
        os.read(told, 1)
        if turn is not None:
            turn.end()
        os.read(told, 1)

    return body


pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def test_as_many_as_slots() -> None:
    turns = Turns(2)
    with forked(hold(turns)) as (_, one, _), forked(hold(turns)) as (_, other, _):
        assert (os.read(one, 4), os.read(other, 4)) == (b"have", b"have")
        assert turns.take(0) is None


def test_the_next_one_gets_what_is_ended() -> None:
    turns = Turns(1)
    with forked(hold(turns)) as (_, holder, end):
        assert os.read(holder, 4) == b"have"
        os.write(end, b"!")
        assert turns.take(LONG) is not None


def test_the_next_one_gets_what_a_dead_one_had() -> None:
    turns = Turns(1)
    with forked(hold(turns)) as (pid, holder, _):
        assert os.read(holder, 4) == b"have"
        os.kill(pid, signal.SIGKILL)
        assert turns.take(LONG) is not None


def test_a_block_ends_its_turn_however_it_is_left() -> None:
    turns = Turns(1)
    turn = turns.take(0)
    assert turn is not None
    with pytest.raises(ZeroDivisionError), turn:
        raise ZeroDivisionError
    with forked(hold(turns)) as (_, holder, _):
        assert os.read(holder, 4) == b"have"


def test_nobody_waits_when_the_worker_ends() -> None:
    turns = Turns(1)
    with forked(hold(turns)) as (_, holder, _):
        assert os.read(holder, 4) == b"have"
        turns.close()
        with forked(hold(turns)) as (_, waiter, _):
            assert os.read(waiter, 4) == b"none"
