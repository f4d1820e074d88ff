# SPDX-License-Identifier: GPL-2.0-only
"""SRCU and RCU: sections are entered and left once, and a grace period waits for those in progress."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_mmu.kvm.locks import ReadSections
from reference_mmu.rwlock import ModelBug

ACTORS = 4


def test_a_section_is_entered_and_left_once() -> None:
    sections = ReadSections(ACTORS)
    with pytest.raises(ModelBug, match=r"^read section left twice$"):
        sections.unlock(1)
    sections.lock(1)
    with pytest.raises(ModelBug, match=r"^read section entered twice$"):
        sections.lock(1)
    sections.unlock(1)
    sections.lock(1)


def test_a_grace_period_without_readers_has_passed() -> None:
    sections = ReadSections(ACTORS)
    assert sections.passed(sections.start_grace_period())
    assert sections.passed(None)  # nobody waits


def test_a_grace_period_waits_for_every_section_that_was_in_progress() -> None:
    sections = ReadSections(ACTORS)
    sections.lock(0)
    sections.lock(2)
    waiting = sections.start_grace_period()
    assert not sections.passed(waiting)
    sections.unlock(2)
    assert not sections.passed(waiting)
    sections.unlock(0)
    assert sections.passed(waiting)


def test_it_does_not_wait_for_one_that_began_later() -> None:
    """Not even for one of an actor that it did wait for."""
    sections = ReadSections(ACTORS)
    sections.lock(0)
    waiting = sections.start_grace_period()
    sections.lock(1)
    assert not sections.passed(waiting)
    sections.unlock(0)
    assert sections.passed(waiting)
    sections.lock(0)
    assert sections.passed(waiting)
    assert not sections.passed(sections.start_grace_period())


def test_grace_periods_know_the_sections_of_their_own_start() -> None:
    sections = ReadSections(ACTORS)
    sections.lock(3)
    first = sections.start_grace_period()
    assert list(first.inside) == list(sections.inside)
    sections.unlock(3)
    assert first.inside[3] != 0
    assert list(sections.inside) == [0] * ACTORS
    sections.lock(3)
    second = sections.start_grace_period()
    assert first.inside[3] != second.inside[3]
    assert (sections.passed(first), sections.passed(second)) == (True, False)


@given(st.lists(st.integers(-1, ACTORS - 1)))
def test_a_later_grace_period_never_passes_before_an_earlier_one(steps: list[int]) -> None:
    """What Machine.rcu_do_batch() relies on. An actor enters a section or leaves it; -1 starts a grace period."""
    sections = ReadSections(ACTORS)
    # By grace period: the sections that it has still to wait for.
    waited_for: list[set[int]] = []
    periods = []
    inside: dict[int, int] = {}
    for number, actor in enumerate(steps):
        if actor < 0:
            periods.append(sections.start_grace_period())
            waited_for.append(set(inside.values()))
        elif actor in inside:
            sections.unlock(actor)
            for others in waited_for:
                others.discard(inside[actor])
            del inside[actor]
        else:
            sections.lock(actor)
            inside[actor] = number
        passed = [sections.passed(period) for period in periods]
        assert passed == [not others for others in waited_for]
        assert passed == sorted(passed, reverse=True)
