# SPDX-License-Identifier: GPL-2.0-only
"""One machine and its program: steps, laps and faults, who waits, and the end."""

from fuzzer.program.ops import ClearFlushYoung, DeleteSlot, Mprotect, NumaHint, Read, Write
from fuzzer.program.program import Actor, Program
from fuzzer.program.script import script_of
from fuzzer.run.execute import Execution, private_points
from fuzzer.run.model import SHIPPED
from reference_mmu import points
from reference_mmu.changelog.semantics import NEW, Semantics, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Config
from reference_mmu.points import AGE_FLUSH, AGE_LOCK, END, FAULT_ENTER, FAULT_RETRY, INV_PRIMARY, N_POINTS, SLOTS_SRCU
from reference_mmu.x86.points import COLLAPSE_FLUSH, COLLAPSE_FROZEN, FAULT_EXIT, PLACEBO_FAULT, POINTS, VCPU_LOAD


def execution_of(*actors: Actor, vcpus: int = 1) -> Execution:
    return Execution(script_of(Program(Config(vcpus=vcpus), actors).check()), OLD, SHIPPED)


def step(execution: Execution, actor: int) -> int:
    return int(execution.step(execution.actors[actor]))


def run_to(execution: Execution, actor: int, point: int) -> None:
    for _ in range(100):
        if step(execution, actor) == point:
            return
    raise AssertionError("never got there")


def test_an_operation_ends_with_a_point_of_its_own() -> None:
    execution = execution_of(Actor("vcpu", (Read(3, 1), Write(7, 1))))
    reader = execution.actors[0]
    assert reader.uid == 3
    assert step(execution, 0) == VCPU_LOAD
    run_to(execution, 0, END)
    assert reader.uid == 7
    assert execution.live() == [0]
    # A TLB hit has no point inside.
    assert step(execution, 0) == END
    assert execution.live() == []
    assert reader.uid == -1


def test_faults_are_counted_apart_from_laps() -> None:
    execution = execution_of(Actor("vcpu", (Read(0, 1),)))
    reader = execution.actors[0]
    run_to(execution, 0, FAULT_ENTER)
    assert (int(reader.faults), int(reader.lap)) == (1, 0)
    run_to(execution, 0, FAULT_EXIT)
    laps = int(reader.lap)
    step(execution, 0)  # the walk begins anew: an earlier point
    assert int(reader.lap) == laps + 1
    run_to(execution, 0, END)
    assert (int(reader.faults), int(reader.lap)) == (0, 0)
    assert int(reader.ended_faults) == 1


def test_an_actor_wants_what_its_point_waits_for() -> None:
    """Between two operations nothing. Some points are there only while somebody else has what they wait for."""
    execution = execution_of(
        Actor("vcpu", (Write(0, 1), Read(1, 2))),
        Actor("mm", (NumaHint(2, 0, 4), Mprotect(3, 0))),
        Actor("ioctl", (DeleteSlot(4, 0),)),
    )
    wanted = set()
    for actor in (0, 1, 2):
        while actor in execution.runnable():
            point = step(execution, actor)
            assert execution.actors[actor].wants == execution.points.wants[point]
            wanted.add(execution.points.wants[point])
    assert execution.live() == []
    waits = {wait for name, wait in vars(points).items() if name.startswith("WANT_")}
    seldom = {points.WANT_HOST_PTE, points.WANT_FOLIO, points.WANT_MMAP_READ, points.WANT_FILEMAP}
    assert wanted == {0, *waits} - seldom


def test_who_waits_for_a_lock_cannot_run() -> None:
    execution = execution_of(Actor("vcpu", (Write(0, 1),)), Actor("mm", (ClearFlushYoung(1, 1, 1), NumaHint(2, 1, 1))))
    run_to(execution, 0, END)
    run_to(execution, 1, AGE_LOCK)
    execution.m.actor = 0
    execution.m.read_lock()
    assert execution.runnable() == []
    execution.m.actor = 0
    execution.m.read_unlock()
    assert execution.runnable() == [1]


def test_who_is_ready_is_known_as_of_the_last_look() -> None:
    execution = execution_of(Actor("vcpu", (Write(0, 1),)), Actor("ioctl", ()), Actor("mm", (NumaHint(1, 1, 1),)))
    assert execution.find_ready() == execution.n_ready == 2
    assert [int(execution.ready[place]) for place in range(2)] == [0, 2]
    run_to(execution, 0, END)
    assert [execution.is_ready(actor) for actor in range(3)] == [True, False, True]
    assert [execution.can_run(running) for running in execution.actors] == [False, False, True]
    assert execution.find_ready() == 1
    assert [execution.is_ready(actor) for actor in range(3)] == [False, False, True]
    assert execution.live() == [2]
    run_to(execution, 2, END)
    assert execution.live() == []


def test_the_resched_mask_travels_with_its_operation() -> None:
    """Another operation in between has a mask of its own."""
    execution = execution_of(Actor("vcpu", (Read(0, 1), Read(3, 2))), Actor("mm", (NumaHint(1, 0, 8, resched=0b11),)))
    run_to(execution, 0, END)
    step(execution, 1)
    assert execution.m.resched == 0b11
    step(execution, 0)
    assert execution.m.resched == 0
    step(execution, 1)
    assert execution.m.resched == 0b11


def test_draining_ends_everything_that_can_end() -> None:
    execution = execution_of(
        Actor("vcpu", (Write(0, 1), Read(1, 2))), Actor("mm", (NumaHint(2, 0, 4),)), Actor("ioctl", (DeleteSlot(3, 0),))
    )
    assert execution.drain(6000)
    assert execution.live() == []
    assert not execution_of(Actor("vcpu", (Write(0, 1),))).drain(5)


def test_draining_lets_others_go_on_at_a_retry() -> None:
    """The vCPU meets an INVALID slot, whose deleter waits for it to leave."""
    execution = execution_of(Actor("vcpu", (Read(0, 1),)), Actor("ioctl", (DeleteSlot(1, 0),)))
    run_to(execution, 1, SLOTS_SRCU)
    run_to(execution, 0, FAULT_RETRY)
    assert execution.drain(6000)


def test_stuck_is_said_to_be_stuck() -> None:
    execution = execution_of(Actor("vcpu", (Read(0, 1),)), Actor("mm", (NumaHint(1, 1, 1),)))
    run_to(execution, 1, INV_PRIMARY)
    execution.actors[1].give_up()  # whoever would end the invalidation is gone
    assert not execution.drain(300)


def private(here: Semantics, there: Semantics) -> set[int]:
    points = private_points(POINTS, here, there)
    return {point for point in range(N_POINTS) if points.has(point)}


def test_private_points_depend_on_both_sides() -> None:
    assert private(OLD, OLD) == private(NEW, NEW) == set()
    assert {AGE_FLUSH, COLLAPSE_FROZEN} <= private(OLD, NEW)
    assert COLLAPSE_FLUSH in private(NEW, OLD)
    assert private(parse_semantics("no-struct-page+placebo-points"), OLD) >= {PLACEBO_FAULT}
    assert AGE_FLUSH not in private(OLD, parse_semantics("no-struct-page+batch-collapsible-zap-flush"))
