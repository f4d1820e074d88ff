# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of a proof's patch, tried in processes of their own, which a mutant may keep busy for ever."""

import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from types import FrameType
from typing import Final

from fuzzer.prove.mutants import Mutant, Noticed, mutants_of, notice

CASE_SECONDS: Final = 10  # of processor time: the longest case, one that reads the model's sources, takes three


class Endless(Exception):
    """A case of a proof does not end."""


@contextmanager
def breakers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that try mutants. They are left to Ctrl-C in this one."""
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def tried(pool: ProcessPoolExecutor, patch: str) -> Iterator[tuple[Mutant, Noticed]]:
    """Every mutant of a patch, and how its proof noticed that."""
    mutants = mutants_of(patch)
    yield from zip(mutants, pool.map(partial(_tried, patch), range(len(mutants))), strict=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, _give_up)


def _begin_case() -> None:
    signal.setitimer(signal.ITIMER_PROF, CASE_SECONDS)


def _give_up(number: int, frame: FrameType | None) -> None:
    raise Endless(f"a case took more than {CASE_SECONDS} s")


def _tried(patch: str, number: int) -> Noticed:
    try:
        return notice(mutants_of(patch)[number], _begin_case)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
