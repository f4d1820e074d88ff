# SPDX-License-Identifier: GPL-2.0-only
"""A copy of reference_mmu to run on: the shipped one, and others that were loaded under other names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from fuzzer.oracle.judge import Judge
from fuzzer.oracle.judges import make_judge
from fuzzer.schedule.running_actor import Flow
from reference_mmu.architectures import architecture_of
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.kvm.vm import Vm
from reference_mmu.operations import Call
from reference_mmu.points import END


class Model:
    """A copy of reference_mmu to run on: the shipped one."""

    def judge(self, config: Config) -> Judge:
        """Whoever watches a machine of the configuration."""
        return make_judge(config)

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Vm:
        """A machine of its own."""
        return architecture_of(config).machine(config, semantics, actors, operations, judge)

    def start(self, m: Vm, actor: i64, call: Call) -> Flow:
        """The flow of an operation."""
        return m.start(actor, call)

    def resume(self, m: Vm, flow: Flow) -> i64:
        """Run a flow to its next point and return it, END if it ended."""
        for point in flow:
            return point
        return END

    def enter(self) -> None:
        """Whatever of the model is run or asked from now on is this one's: said whenever a machine takes its turn."""


class LoadedModel(Model):
    """One whose machines and flows are made by functions."""

    def __init__(self, make_machine: Callable[..., Vm], start_flow: Callable[[Vm, int, Call], Flow]) -> None:
        self.make_machine = make_machine
        self.start_flow = start_flow

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Vm:
        return self.make_machine(config, semantics, int(actors), int(operations), judge)

    def start(self, m: Vm, actor: i64, call: Call) -> Flow:
        return self.start_flow(m, int(actor), call)


SHIPPED: Final = Model()
