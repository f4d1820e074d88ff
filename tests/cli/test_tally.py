# SPDX-License-Identifier: GPL-2.0-only
"""Parts of several processes add up to one campaign, in any order, with the best reproducer of each signature."""

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from cli.order import Gain, Order, Part, batch_size
from cli.tally import Tally, file_name
from db.session import open_database
from db.store import Store
from fuzzer.judge.finding import Finding, Verdict, signature
from fuzzer.program.ops import Write
from fuzzer.program.program import Actor, Program
from fuzzer.search_spec import SearchSpec
from reference_mmu.config import Config
from tests.cli.made import FINDING, reproducer_file
from tests.db.stored import NIGHTLY

SIGNATURE = signature(FINDING)
ORDER = Order(SearchSpec(old="old", new="new", profile="tdp", seed=100), 20, 5, 2)


@pytest.fixture
def tally(tmp_path: Path) -> Tally:
    store = Store(open_database(f"sqlite:///{tmp_path / 'test.db'}"))
    campaign = store.create_campaign(NIGHTLY)
    return Tally(store, campaign, ORDER, tmp_path)


def reproducer(writes: int) -> bytes:
    """A reproducer file with that many operations."""
    program = Program(Config(), (Actor("vcpu", tuple(Write(uid, 1) for uid in range(writes))),))
    return reproducer_file(program)


def gain(seed: int, count: int = 1, writes: int = 0, finding: Finding = FINDING, *, minimized: bool = True) -> Gain:
    """`writes` 0: without a reproducer."""
    return Gain(finding, count, seed, reproducer(writes) if writes else None, writes, 0, minimized=minimized)


def part(batch: int, *gains: Gain, last: bool = True, coverage: tuple[int, ...] = ()) -> Part:
    return Part(batch, 2, 30, 0.5, coverage, gains, last)


def test_parts_of_a_batch_are_stored_as_one(tally: Tally) -> None:
    tally.add(part(0, gain(100, writes=2), last=False, coverage=(1, 2)))
    assert tally.store.totals(tally.campaign).batches == 0
    tally.add(part(0, gain(103, count=4), coverage=(2, 3)))
    totals = tally.store.totals(tally.campaign)
    assert (totals.batches, totals.programs, totals.steps, totals.seconds, totals.coverage) == (1, 4, 60, 1.0, 3)
    row = tally.store.finding(SIGNATURE)
    assert row is not None
    assert (row.count, row.first_seed) == (5, 100)
    assert row.reproducer is not None
    assert (row.reproducer.minimized, row.reproducer.operations) == (True, 2)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_processes_find_the_same(tally: Tally, order: tuple[int, int]) -> None:
    parts = [part(0, gain(104, writes=3)), part(1, gain(105, writes=1))]
    fresh = [tally.add(parts[index]) for index in order]
    (tallied,) = tally.findings.values()
    assert [len(found) for found in fresh] == [1, 0]
    assert (tallied.count, tallied.first_seed, tallied.operations) == (2, 104, 1)
    assert (tally.folder / file_name(SIGNATURE)).read_bytes() == reproducer(1)
    assert tally.store.reproducer(SIGNATURE) == reproducer(1)


def test_the_more_severe_verdict_is_shown(tally: Tally) -> None:
    worse = msgspec.structs.replace(FINDING, verdict=Verdict.UNEXPLAINED)
    tally.add(part(0, gain(100, writes=1)))
    tally.add(part(1, gain(105, writes=2, finding=worse)))
    (tallied,) = tally.findings.values()
    assert (tallied.finding.verdict, tallied.operations, tallied.count) == (Verdict.UNEXPLAINED, 2, 2)
    assert tally.verdicts() == dict.fromkeys(map(str, Verdict), 0) | {"unexplained": 1}


def test_a_batch_that_was_broken_off_is_stored_as_far_as_it_came(tally: Tally) -> None:
    tally.add(part(1, gain(105, writes=1), last=False))
    tally.store_rest()
    assert tally.store.totals(tally.campaign).programs == 2
    assert tally.store.finding(SIGNATURE) is not None


def test_a_smaller_story_comes_later_and_counts_nothing(tally: Tally) -> None:
    tally.add(part(0, gain(100, writes=3, minimized=False)))
    row = tally.store.finding(SIGNATURE)
    assert row is not None
    assert row.reproducer is not None
    assert not row.reproducer.minimized
    assert tally.add(part(1, gain(100, count=0, writes=3))) == []
    (tallied,) = tally.findings.values()
    assert (tallied.count, tallied.minimized) == (1, True)
    row = tally.store.finding(SIGNATURE)
    assert row is not None
    assert row.reproducer is not None
    assert (row.count, row.batches, row.reproducer.minimized, row.reproducer.operations) == (1, 1, True, 3)


def test_the_first_story_and_the_smaller_one_may_come_with_one_batch(tally: Tally) -> None:
    tally.add(part(0, gain(100, count=4, writes=3, minimized=False), gain(100, count=0, writes=1)))
    row = tally.store.finding(SIGNATURE)
    assert row is not None
    assert row.reproducer is not None
    assert (row.count, row.reproducer.minimized, row.reproducer.operations) == (4, True, 1)
    assert (tally.folder / file_name(SIGNATURE)).read_bytes() == reproducer(1)


def test_batches_divide_the_programs() -> None:
    assert [list(ORDER.batch(number)) for number in (0, 3, 4)] == [[*range(100, 105)], [*range(115, 120)], []]
    assert [batch_size(programs, jobs) for programs, jobs in ((60, 2), (5, 2), (1, 64), (0, 2), (1000, 2))] == [
        30,
        3,
        1,
        50,
        50,
    ]


def test_batches_grow_and_leave_no_seed_out() -> None:
    endless = msgspec.structs.replace(ORDER, programs=0)
    batches = [endless.batch(number) for number in range(400)]
    assert all(one.stop == next_one.start for one, next_one in pairwise(batches))
    sizes = [len(batch) for batch in batches]
    assert sizes[:34] == [5] * 32 + [10] * 2, "16 of each size for each of 2 jobs"
    assert sizes[-1] == len(endless.batch(10**9)) == 5 * 2**7
    for number in range(32, 400):
        before = sum(sizes[number % 2 : number : 2])
        assert sizes[number] * 8 <= before


def test_file_names_are_safe() -> None:
    assert file_name("divergence:a+b:c/../d e:0") == "divergence-a+b-c-..-d-e-0.json"
