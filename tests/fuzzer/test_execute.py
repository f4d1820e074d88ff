# SPDX-License-Identifier: GPL-2.0-only
"""One machine and its program: steps, laps and faults, who waits, and the end."""

from fuzzer.execute import END, Execution, private_points
from fuzzer.flows import SHIPPED
from fuzzer.ops import ClearFlushYoung, DeleteSlot, NumaHint, Read, Write
from fuzzer.program import Actor, Program
from reference_mmu.config import Config
from reference_mmu.points import (
    AGE_FLUSH,
    AGE_LOCK,
    COLLAPSE_FLUSH,
    COLLAPSE_FROZEN,
    FAULT_ENTER,
    FAULT_EXIT,
    FAULT_RETRY,
    INV_PRIMARY,
    PLACEBO_FAULT,
    SLOTS_SRCU,
    VCPU_LOAD,
)
from reference_mmu.semantics import NEW, OLD, parse_semantics


def execution_of(*actors: Actor, vcpus: int = 1) -> Execution:
    return Execution(Program(Config(vcpus=vcpus), actors).check(), OLD, SHIPPED)


def run_to(execution: Execution, actor: int, point: int) -> None:
    for _ in range(100):
        if execution.step(actor) == point:
            return
    raise AssertionError("never got there")


def test_an_operation_ends_with_a_point_of_its_own() -> None:
    execution = execution_of(Actor("vcpu", (Read(3, 1), Write(7, 1))))
    assert execution.uid_of(0) == 3
    assert execution.step(0) == VCPU_LOAD
    run_to(execution, 0, END)
    assert execution.uid_of(0) == 7
    assert execution.live == [0]
    # A TLB hit has no point inside.
    assert execution.step(0) == END
    assert execution.live == []
    assert execution.uid_of(0) == -1


def test_faults_are_counted_apart_from_laps() -> None:
    execution = execution_of(Actor("vcpu", (Read(0, 1),)))
    run_to(execution, 0, FAULT_ENTER)
    assert (int(execution.faults[0]), int(execution.lap[0])) == (1, 0)
    run_to(execution, 0, FAULT_EXIT)
    laps = int(execution.lap[0])
    execution.step(0)  # the walk begins anew: an earlier point
    assert int(execution.lap[0]) == laps + 1
    run_to(execution, 0, END)
    assert (int(execution.faults[0]), int(execution.lap[0])) == (0, 0)
    assert int(execution.ended_faults[0]) == 1


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


def test_the_resched_mask_travels_with_its_operation() -> None:
    """Another operation in between has a mask of its own."""
    execution = execution_of(Actor("vcpu", (Read(0, 1), Read(3, 2))), Actor("mm", (NumaHint(1, 0, 8, resched=0b11),)))
    run_to(execution, 0, END)
    execution.step(1)
    assert execution.m.resched == 0b11
    execution.step(0)
    assert execution.m.resched == 0
    execution.step(1)
    assert execution.m.resched == 0b11


def test_draining_ends_everything_that_can_end() -> None:
    execution = execution_of(
        Actor("vcpu", (Write(0, 1), Read(1, 2))), Actor("mm", (NumaHint(2, 0, 4),)), Actor("ioctl", (DeleteSlot(3, 0),))
    )
    assert execution.drain(6000)
    assert execution.live == []
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
    execution.live.remove(1)  # whoever would end the invalidation is gone
    assert not execution.drain(300)


def test_private_points_depend_on_both_sides() -> None:
    assert private_points(OLD, OLD) == private_points(NEW, NEW) == frozenset()
    assert {AGE_FLUSH, COLLAPSE_FROZEN} <= private_points(OLD, NEW)
    assert COLLAPSE_FLUSH in private_points(NEW, OLD)
    assert private_points(parse_semantics("old+placebo-points"), OLD) >= {PLACEBO_FAULT}
    assert AGE_FLUSH not in private_points(OLD, parse_semantics("old+batch-collapsible-zap-flush"))
