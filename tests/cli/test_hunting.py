# SPDX-License-Identifier: GPL-2.0-only
"""One search process: what it sends adds up, and nothing that it has seen is lost when it is stopped."""

from multiprocessing import Pipe

from cli.hunting import Hunter, Listener
from cli.order import Order, Part
from fuzzer.hunt import Hunt
from fuzzer.judge.finding import signature
from fuzzer.program.profile import PROFILES
from fuzzer.search_spec import SearchSpec
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.semantics import NEW, NO_STRUCT_PAGE

PROGRAMS = 12
ORDER = Order(SearchSpec(old="no-struct-page", new="new", profile="tdp", seed=1), PROGRAMS, PROGRAMS, 1)


class ToldToStop(Listener):
    """Hears something whenever it is asked for the n-th time, n from `times`."""

    def __init__(self, *times: int) -> None:
        self.times = times
        self.asked = 0

    def hears(self) -> bool:
        self.asked += 1
        return self.asked in self.times


def impatient() -> Hunter:
    """One that has had no time to judge anything."""
    hunter = Hunter(ORDER)
    hunter.search.effort.searched = -(10**9)
    return hunter


def counts(parts: list[Part]) -> dict[str, int]:
    grown: dict[str, int] = {}
    for gain in (gain for part in parts for gain in part.gains):
        name = signature(gain.finding)
        grown[name] = grown.get(name, 0) + gain.count
    return grown


def test_what_waits_is_judged_after_the_last_batch() -> None:
    parts = list(impatient().hunt(0, ToldToStop(), last=True))
    alone = Hunt(SeedRunner(NO_STRUCT_PAGE, NEW, PROFILES["tdp"]))
    for seed in ORDER.batch(0):
        alone.one(seed)
    assert sum(part.programs for part in parts) == PROGRAMS
    assert [part.last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert counts(parts) == {name: found.count for name, found in alone.found.items()}
    bodies = {signature(gain.finding): gain.reproducer for part in parts for gain in part.gains if gain.minimized}
    small = {name for name, body in bodies.items() if body is not None}
    assert small == set(alone.found)


def test_between_batches_things_may_wait() -> None:
    hunter = impatient()
    assert counts(list(hunter.hunt(0, ToldToStop(), last=False))) == {}
    assert len(hunter.search.docket) > 0


def test_told_twice_to_stop_it_still_tells_what_may_fail_the_search() -> None:
    hunter = impatient()
    parts = list(hunter.hunt(0, ToldToStop(10, 11), last=False))
    docket = hunter.search.docket
    assert hunter.stopped
    assert (docket.pressing(), docket.has_unseen(), parts[-1].pressing) == (0, False, 0)
    assert len(docket) > 0, "small stories that nobody waits for"


def test_told_three_times_to_stop_it_still_judges_what_it_has_never_judged() -> None:
    hunter = impatient()
    parts = list(hunter.hunt(0, ToldToStop(10, 11, 12), last=False))
    assert hunter.stopped
    assert parts[-1].last
    assert sum(part.programs for part in parts) == 10
    assert not hunter.search.docket.has_unseen()
    assert len(hunter.search.docket) > 0, "small stories that nobody waits for"
    stories = {signature(gain.finding) for part in parts for gain in part.gains if gain.reproducer is not None}
    assert stories == set(counts(parts))


def test_each_message_is_heard_once_and_the_end_for_ever() -> None:
    ours, theirs = Pipe()
    listener = Listener(theirs)
    assert not listener.hears()
    listener = Listener(theirs)
    ours.send_bytes(b"stop")
    assert listener.hears()
    assert not Listener(theirs).hears()
    ours.close()
    assert Listener(theirs).hears()
    assert Listener(theirs).hears()
