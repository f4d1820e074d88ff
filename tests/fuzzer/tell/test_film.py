# SPDX-License-Identifier: GPL-2.0-only
"""The film: as many frames as rows, changes that add up to the state, and what is pending while it is."""

import msgspec
import pytest

from fuzzer.minimize.minimize import Scenario
from fuzzer.program.program import Program
from fuzzer.run.compare import Comparison
from fuzzer.tell.film import PENDING, Frame, StateChange, film
from fuzzer.tell.story import tell
from tests.golden import NAMES, golden


def added_up(frames: tuple[Frame, ...], side: str) -> dict[tuple[str, str], str]:
    state: dict[tuple[str, str], str] = {}
    for frame in frames:
        for change in frame.old if side == "old" else frame.new:
            state[(change.group, change.name)] = change.value
    return {key: value for key, value in state.items() if value}


def shot(name: str) -> tuple[Frame, ...]:
    return film(golden(name).comparison(), golden(name).scenario())


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_for_the_start_and_for_every_row(name: str) -> None:
    rows = tell(golden(name).comparison(), golden(name).scenario()).rows
    assert len(shot(name)) == len(rows) + 1


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_told_that_did_not_change(name: str) -> None:
    frames = shot(name)
    for number in range(1, len(frames)):
        before = added_up(frames[:number], "old")
        assert all(before.get((c.group, c.name), "") != c.value for c in frames[number].old)


def test_the_sides_are_those_of_the_comparison_when_new_leads() -> None:
    """Only the leader stops at every point, so only there the flush that NEW alone makes is to be seen pending."""
    comparison, story = golden("bug-219588").comparison(), golden("bug-219588").scenario()
    frames = film(Comparison(comparison.old, comparison.new, "new"), story)
    assert "flush by vCPU0" not in {c.name for frame in frames for c in frame.old}
    assert "flush by vCPU0" in {c.name for frame in frames for c in frame.new}


def test_the_bug_is_to_be_seen_in_the_state() -> None:
    """The TLB entry of vCPU1 is writable while the SPTE is not, in OLD at the end of the fault."""
    frames = shot("bug-219588")
    moments = [added_up(frames[: number + 1], "old") for number in range(len(frames))]
    stale = [m for m in moments if "W" in m.get(("TLB of vCPU1", "gfn 13"), "") and " W" not in m[("SPTE", "gfn 13")]]
    assert stale


def test_pending_ends() -> None:
    frames = shot("bug-219588")
    assert any(c.group == PENDING for frame in frames for c in frame.old)
    assert not [key for key in added_up(frames, "new") if key[0] == PENDING]


def test_names_are_placed_in_groups() -> None:
    groups = {c.group for frame in shot("bug-219588") for c in frame.old}
    assert {"SPTE", "TLB of vCPU1", "memory", "host PTE", "memslot", "root", PENDING} <= groups
    assert StateChange("memory", "hva 0", "as at the start") in shot("bug-219588")[0].old


def test_a_machine_too_large_to_be_shown_has_no_frames() -> None:
    reproducer = golden("bug-219588")
    config = msgspec.structs.replace(reproducer.program.config, backing=("anon",) * 65)
    story = Scenario(Program(config, reproducer.program.actors), reproducer.scenario().switches)
    assert film(reproducer.comparison(), story) == ()
