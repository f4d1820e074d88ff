# SPDX-License-Identifier: GPL-2.0-only
"""The same operations in an order with fewer switches: guesses, for the minimizer to try.

Turns say in which order the actors moved. A *run* is a longest stretch of one actor, and every border between two runs
is a switch unless the actor before it had ended or waits. Joining two runs of an actor over what lies between them
takes two borders away at once (Jalbert and Sen, "A trace simplification technique for effective debugging of
concurrent programs", FSE 2010). Whether the story still shows anything is for the replay to say.
"""

from __future__ import annotations

from collections.abc import Iterator

from fuzzer.program.program import Actor, Program
from fuzzer.schedule.schedule import Turn

Arranged = tuple[Program, list[Turn]]


def rearrangements(program: Program, turns: list[Turn]) -> Iterator[Arranged]:
    """Every single rearrangement of a recorded run."""
    for joined in joined_runs(turns):
        yield program, joined
    yield from exchanged_actors(program, turns)
    yield from joined_actors(program, turns)


def runs_of(turns: list[Turn]) -> list[list[Turn]]:
    """The turns, cut into the longest stretches of one actor each."""
    runs: list[list[Turn]] = []
    for turn in turns:
        if not runs or runs[-1][-1].actor != turn.actor:
            runs.append([])
        runs[-1].append(turn)
    return runs


def joined_runs(turns: list[Turn]) -> Iterator[list[Turn]]:
    """Each run put off until its actor's next one, and that one brought forward to it."""
    runs = runs_of(turns)
    for first, run in enumerate(runs):
        for second in range(first + 1, len(runs)):
            if runs[second][0].actor == run[0].actor:
                between = runs[first + 1 : second]
                yield chained([*runs[:first], *between, run, *runs[second:]])
                yield chained([*runs[: first + 1], runs[second], *between, *runs[second + 1 :]])
                break


def chained(runs: list[list[Turn]]) -> list[Turn]:
    return [turn for run in runs for turn in run]


def exchanged_actors(program: Program, turns: list[Turn]) -> Iterator[Arranged]:
    """Two actors change numbers: who goes on by default is a matter of numbers. vCPUs stay first."""
    actors = program.actors
    for second in range(len(actors)):
        for first in range(second):
            if (actors[first].kind == "vcpu") == (actors[second].kind == "vcpu"):
                number = list(range(len(actors)))
                number[first], number[second] = second, first
                exchanged = Program(program.config, tuple(actors[n] for n in number))
                yield exchanged, renumbered(turns, number)


def joined_actors(program: Program, turns: list[Turn]) -> Iterator[Arranged]:
    """One actor does the work of two of its kind, in the order of uids."""
    actors = program.actors
    for second in range(len(actors)):
        for first in range(second):
            if actors[first].kind == actors[second].kind:
                ops = sorted((*actors[first].ops, *actors[second].ops), key=lambda op: op.uid)
                one = Actor(actors[first].kind, tuple(ops))
                fewer = (*actors[:first], one, *actors[first + 1 : second], *actors[second + 1 :])
                number = [first if n == second else n - (n > second) for n in range(len(actors))]
                yield Program(program.config, fewer), renumbered(turns, number)


def renumbered(turns: list[Turn], number: list[int]) -> list[Turn]:
    """The turns, actor n now being number[n]."""
    return [Turn(number[turn.actor], turn.uid, turn.point, turn.occurrence) for turn in turns]
