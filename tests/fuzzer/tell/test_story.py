# SPDX-License-Identifier: GPL-2.0-only
"""A story shows what the run did: the same trace, every violation, and where the two models first differ."""

from collections.abc import Generator
from itertools import pairwise

import pytest

from fuzzer.found import Found
from fuzzer.hunt import Hunt
from fuzzer.judge.shows import shows
from fuzzer.minimize.minimize import Scenario
from fuzzer.program import ops
from fuzzer.program.ops import Operation, Read, Write
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Actor, Program
from fuzzer.program.words import actor_names, config_words, operation_words, page_range, slot_words, switch_words
from fuzzer.recheck import recheck
from fuzzer.reproducer import Reproducer, decode_reproducer, trace_digest
from fuzzer.run.compare import Comparison, Models
from fuzzer.run.model import LoadedModel
from fuzzer.schedule.schedule import Switch
from fuzzer.seed_runner import SeedRunner
from fuzzer.tell.picture import changes
from fuzzer.tell.story import Cell, Row, first_difference, patches_alone, tell
from fuzzer.tell.two_columns import header_lines, row_lines
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config, SlotConfig
from reference_mmu.kvm.vm import Vm
from reference_mmu.operations import Call
from reference_mmu.points import FAULT_ENTER
from reference_mmu.rwlock import ModelBug
from reference_mmu.x86.points import FAULT_PFN
from reference_mmu.x86.x86 import X86
from tests.findings import violation

# Kernel bug 219588: a read fault gets its page while it may not be mapped writable, a write fault of another vCPU maps
# it writable, then the reader installs its read-only SPTE over the writable one without a flush.
PROGRAM = Program(Config(), (Actor("vcpu", (Read(0, 5, upgrade_fails=True),)), Actor("vcpu", (Write(1, 5),))))
RACE = Scenario(PROGRAM, (Switch(0, FAULT_PFN, 1, 1),))


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """What 60 programs show."""
    hunt = Hunt(SeedRunner(OLD, NEW, PROFILES["tdp"]))
    for seed in range(60):
        hunt.one(seed)
    return [found for found in hunt.found.values() if found.reproducer is not None]


def reproducers(found: list[Found]) -> list[Reproducer]:
    return [decode_reproducer(one.reproducer) for one in found if one.reproducer is not None]


def race(leader: str) -> list[Row]:
    return tell(Comparison(OLD, NEW, "old" if leader == "old" else "new"), RACE).rows


def column(rows: list[Row], side: str) -> list[Cell]:
    return [row.old if side == "old" else row.new for row in rows]


@pytest.mark.parametrize("leader", ["old", "new"])
def test_the_story_of_bug_219588(leader: str) -> None:
    rows = race(leader)
    row = rows[first_difference(rows)]
    broken = [text for one in rows for text in one.old.broken]
    assert (row.actor, row.operation) == ("vCPU0", "read gfn 5 (#0, upgrade fails)")
    assert "SPTE gfn 5: pfn 5 W MMU-W A D -> pfn 5 A" in row.old.seen
    assert row.new.seen[:2] == ("WARN", "remote TLB flush")
    stale = "TLB of vCPU1 gfn 5: pfn 5 W D -> none"
    assert [sum(stale in cell.seen for cell in column(rows, side)) for side in ("old", "new")] == [0, 1]
    assert [text.split(":")[0] for text in broken] == ["stale-writable-mmuw"]
    assert not any(one.new.broken for one in rows)


def test_who_leads_changes_neither_column() -> None:
    """But for where a step ends: NEW alone stops at the point before its flush."""
    for side in ("old", "new"):
        seen = [[text for cell in column(race(leader), side) for text in cell.seen] for leader in ("old", "new")]
        assert seen[0] == seen[1]


def test_watching_changes_nothing(found: list[Found]) -> None:
    for reproducer in reproducers(found):
        telling = tell(reproducer.comparison(), reproducer.scenario())
        check = recheck(reproducer, telling.outcome)
        assert trace_digest(telling.outcome) == trace_digest(reproducer.run()) == reproducer.digest
        assert check.reproduced()
        assert (check.diverging_step, check.step_recorded, check.step_now) == (0, "", "")
        assert [row.turn for row in telling.rows] == [*range(1, len(telling.outcome.turns) + 1), 0]


def test_every_finding_can_be_seen_in_its_story(found: list[Found]) -> None:
    assert len(found) > 10
    for reproducer in reproducers(found):
        rows = tell(patches_alone(reproducer), reproducer.scenario()).rows
        assert first_difference(rows) >= 0, reproducer.signature


def test_the_same_model_twice_shows_no_difference() -> None:
    rows = tell(Comparison(NEW, NEW, "old"), RACE).rows
    assert first_difference(rows) == -1
    assert not any(line.startswith(">>>") for line in row_lines(rows, 120))


def test_text_fits_its_width_and_marks_one_row() -> None:
    rows = race("old")
    for width in (80, 120, 200):
        lines = row_lines(rows, width)
        assert max(map(len, lines)) <= width
        assert [line for line in lines if line.startswith(">>>")] == [
            line for line in lines if line[:8].endswith(f" {rows[first_difference(rows)].turn}") and ">>>" in line
        ]
        assert sum("!!" in line for line in lines) == 1
    assert row_lines(rows, 10) == row_lines(rows, 80)


def test_turns_are_in_order_and_named() -> None:
    rows = race("old")[:-1]
    assert all(before.turn + 1 == after.turn for before, after in pairwise(rows))
    assert [actor for actor, after in pairwise(row.actor for row in rows) if actor != after] == ["vCPU0", "vCPU1"]


def kinds_in(reproducer: Reproducer) -> set[type[ops.Operation]]:
    return {type(op) for actor in reproducer.program.actors for op in actor.ops}


def test_header_tells_verdict_patches_program_and_interleaving(found: list[Found]) -> None:
    reproducer = next(
        reproducer
        for reproducer in reproducers(found)
        if reproducer.finding.patches == ("age-elides-tlb-flush",) and ops.ClearFlushYoung in kinds_in(reproducer)
    )
    text = "\n".join(header_lines(reproducer, reproducer.comparison()))
    assert text.startswith("documented  ")
    assert "because of  age-elides-tlb-flush (KVM: x86: Don't emit TLB flushes when aging SPTEs" in text
    assert "compared    OLD = no-struct-page, NEW = new; " in text
    assert "\nmachine     TDP MMU, " in text
    assert "\nmm          clear-flush-young hva " in text
    alone = patches_alone(reproducer)
    assert f"OLD = {alone.old.spec()}, NEW = {alone.new.spec()}" in "\n".join(header_lines(reproducer, alone))


def test_a_violation_shows_on_its_side_alone() -> None:
    outcome = tell(Comparison(OLD, NEW, "old"), RACE).outcome
    twice = tell(Comparison(OLD, OLD, "old"), RACE).outcome
    seen = {side: shows(violation("stale-writable-mmuw", side=side), outcome) for side in ("old", "new", "both")}
    assert seen == {"old": True, "new": False, "both": True}
    assert not shows(violation("lost-write", side="both"), outcome)
    assert not shows(violation("stale-writable-mmuw", side="old"), twice)
    assert shows(violation("stale-writable-mmuw", side="both"), twice)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (ops.Read(2, 5, upgrade_fails=True), "read gfn 5 (#2, upgrade fails)"),
        (ops.Prefetch(2, 5, upgrade_fails=True, write=True), "prefetch gfn 5 (#2, upgrade fails, write)"),
        (ops.ClearFlushYoung(7, 0, 4), "clear-flush-young hva 0..3 (#7)"),
        (ops.Discard(1, 3, 1, resched=5), "discard hva 3 (#1, resched 0x5)"),
        (ops.ClearLog(3, 1, 4, 4), "clear-log slot 1 pages 4..7 (#3)"),
        (ops.MoveSlot(4, 0, 12), "move-slot slot 0 to gfn 12 (#4)"),
        (ops.Nested(0), "nested (#0)"),
    ],
)
def test_operations_in_words(operation: Operation, words: str) -> None:
    assert operation_words(operation) == words


def test_programs_in_words() -> None:
    config = Config(mmu="shadow", paging="npt", vcpus=1, slots=(SlotConfig(8, 4, 2, logging=True),))
    several = Program(config, (Actor("vcpu", ()), Actor("device", ()), Actor("mm", ()), Actor("device", ())))
    assert config_words(config) == "shadow MMU, NPT, 1 vCPU, 3 levels of 4 entries, eager split"
    assert slot_words(config, config.slots[0]) == "gfn 8..11 = hva 2..5 (anon), dirty logging"
    assert actor_names(several) == ["vCPU0", "device0", "mm", "device1"]
    assert (page_range(3, 1), page_range(3, 2)) == ("3", "3..4")


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ((0, "fault.pfn", 1, 1), "vCPU0 comes to fault.pfn in read gfn 5 (#0, upgrade fails): vCPU1 goes on"),
        ((1, "end", 1, 0), "vCPU1 ends write gfn 5 (#1): vCPU0 goes on"),
        ((1, "map.step", 2, 7), "vCPU1 comes to map.step in write gfn 5 (#1) for the 2nd time: actor 7 goes on"),
        ((-1, "end", 1, 1), "at the start: vCPU1 goes first"),
    ],
)
def test_switches_in_words(switch: tuple[int, str, int, int], words: str) -> None:
    assert switch_words(PROGRAM, *switch) == words


def test_changes_of_a_picture() -> None:
    was, now = {"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"}
    assert changes(was, now) == ["a: 1 -> none", "c: 3 -> 4", "d: none -> 5"]


def test_a_flow_that_breaks_a_rule_of_the_model_ends_the_story_where_it_did() -> None:
    def broken(m: Vm, actor: int, call: Call) -> Generator[int, None, None]:
        yield FAULT_ENTER
        raise ModelBug("lock taken twice")

    model = LoadedModel(X86, broken)
    rows = tell(Comparison(OLD, NEW, "old", Models(model, model)), RACE).rows
    assert [(row.turn, row.old.where, bool(row.old.broken)) for row in rows] == [
        (1, "to fault.enter", False),
        (2, "to fault.enter", True),
        (0, "judged", False),
    ]
    assert rows[1].old.broken[0].startswith("model-bug: ")
