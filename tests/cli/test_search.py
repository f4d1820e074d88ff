# SPDX-License-Identifier: GPL-2.0-only
"""Search processes, and those that follow them when there is a compiled core."""

from collections import Counter

from cli.order import Order, Part
from cli.search import Search
from fuzzer.search_spec import SearchSpec

ORDER = Order(SearchSpec(old="no-struct-page", new="new", profile="tdp", seed=1), programs=0, batch_programs=5, jobs=2)


def parts_until(search: Search, closed: int) -> list[Part]:
    """What arrives until so many batches are closed."""
    parts: list[Part] = []
    while search.running() and sum(part.last for part in parts) < closed:
        parts += search.parts(1.0)
    return parts


def test_renewed_processes_go_on_with_the_next_batches() -> None:
    with Search(ORDER) as search:
        parts = parts_until(search, closed=2)
        search.renew("")
        parts += parts_until(search, closed=6)
        search.stop()
        search.stop()
        parts += parts_until(search, closed=1000)
    assert search.failures == []
    closed = Counter(part.batch for part in parts if part.last)
    assert set(closed.values()) == {1}, "no batch was hunted by two"
    assert closed.keys() == {part.batch for part in parts}
    for job in range(ORDER.jobs):
        numbers = sorted(number for number in closed if number % ORDER.jobs == job)
        assert numbers == list(range(job, numbers[-1] + 1, ORDER.jobs)), "none was left out"
    for number in closed:
        assert sum(part.programs for part in parts if part.batch == number) <= len(ORDER.batch(number))
    # Two were cut short by those that were followed, two by the end.
    assert sum(part.programs for part in parts) > 5 * (len(closed) - 4)


def test_a_core_of_other_sources_is_refused() -> None:
    with Search(ORDER) as search:
        parts_until(search, closed=1)
        search.renew("c0de")
        parts_until(search, closed=1000)
    assert len(search.failures) == ORDER.jobs
    assert all("ended with exit code 1" in failure for failure in search.failures)


def test_what_was_stopped_is_not_renewed() -> None:
    with Search(ORDER) as search:
        parts_until(search, closed=1)
        search.stop()
        search.renew("")
        parts_until(search, closed=1000)
        assert not search.running()
    assert search.failures == []
