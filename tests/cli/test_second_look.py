# SPDX-License-Identifier: GPL-2.0-only
"""What a compiled change shows is told if two copies of the model show it, too."""

import msgspec
import pytest

from cli.order import Gain, Part
from cli.second_look import SecondLook
from fuzzer.change.variant import changed_models
from fuzzer.hunt import Hunt
from fuzzer.reproducer import decode_reproducer, encode_reproducer
from fuzzer.run.compare import Models
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import runner_of
from tests.changes import NO_FLUSH

SPEC = SearchSpec(old="new", new="new", profile="tdp", seed=1)
PART = Part(batch=0, programs=12, steps=0, seconds=0.0, coverage=(), gains=(), last=True, merged=True)


@pytest.fixture(scope="module")
def models() -> Models:
    return changed_models(NO_FLUSH)


@pytest.fixture(scope="module")
def gain(models: Models) -> Gain:
    """The first finding of the change."""
    hunt = Hunt(runner_of(SPEC, models))
    found = next(found for seed in range(1, 13) for found in hunt.one(seed))
    return Gain(found.finding, 1, 1, found.reproducer, found.operations, found.preemptions, found.minimized)


def part_with(gain: Gain, **changes: str) -> Part:
    """As a process sends it whose reproducer differs so much."""
    assert gain.reproducer is not None
    reproducer = msgspec.structs.replace(decode_reproducer(gain.reproducer), **changes)
    sent = msgspec.structs.replace(gain, reproducer=encode_reproducer(reproducer))
    return msgspec.structs.replace(PART, gains=(sent,))


def test_what_replays_is_told_as_the_interpreted_model_shows_it(models: Models, gain: Gain) -> None:
    look = SecondLook(models)
    assert look.at(part_with(gain, model="that of the merged one")).gains == (gain,)
    assert look.doubts() == []


def test_what_does_not_replay_is_not_told_and_said_once(models: Models, gain: Gain) -> None:
    look = SecondLook(models)
    assert look.at(part_with(gain, digest="0" * 16)).gains == ()
    [doubt] = look.doubts()
    assert doubt.startswith("the compiled change shows ")
    assert "in the program of seed 1, interpreted it does not" in doubt
    assert look.doubts() == []


def test_what_only_counts_and_what_was_interpreted_is_not_looked_at(models: Models, gain: Gain) -> None:
    look = SecondLook(models)
    counted = msgspec.structs.replace(PART, gains=(msgspec.structs.replace(gain, reproducer=None),))
    interpreted = msgspec.structs.replace(part_with(gain, digest="0" * 16), merged=False)
    assert look.at(counted) == counted
    assert look.at(interpreted) == interpreted
    assert look.doubts() == []
