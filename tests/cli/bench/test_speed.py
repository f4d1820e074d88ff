# SPDX-License-Identifier: GPL-2.0-only
from cli.bench.speed import Sample, rotated, speeds


def sample(name: str, repetition: int, steps: int, seconds: float = 1.0) -> Sample:
    return Sample(name, "mixed", repetition, seconds, programs=steps // 100, pairs=steps // 200, steps=steps)


def test_arms_are_held_against_the_first_repetition_by_repetition() -> None:
    samples = [sample("a", 0, 1000), sample("b", 0, 500), sample("b", 1, 250), sample("a", 1, 1000, 2.0)]
    first, second = speeds(samples, "a")
    assert first.ratio.words() == "1.00 (1.00 to 1.00)"
    assert second.ratio.words() == "0.50 (0.50 to 0.50)"
    assert second.steps_per_second.words(0) == "375 (250 to 500)"
    assert (second.programs_per_second.median, second.pairs_per_second.median) == (3.5, 1.5)


def test_a_repetition_that_was_broken_off_does_not_count() -> None:
    samples = [sample("a", 0, 1000), sample("b", 0, 500), sample("b", 1, 900)]
    assert [speed.samples for speed in speeds(samples, "a")] == [1, 1]


def test_nothing_measured_is_no_speed() -> None:
    assert speeds([], "a") == []


def test_who_begins_changes() -> None:
    assert [rotated(["a", "b", "c"], by)[0] for by in range(4)] == ["a", "b", "c", "a"]
