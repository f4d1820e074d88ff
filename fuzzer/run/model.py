# SPDX-License-Identifier: GPL-2.0-only
"""A copy of reference_mmu to run on: the shipped one, and others that were loaded under other names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final

from mypy_extensions import i64

from fuzzer.oracle.judge import Judge
from fuzzer.schedule.running_actor import Flow
from reference_mmu.changelog.semantics import Semantics
from reference_mmu.config import Config
from reference_mmu.x86.machine import Machine
from reference_mmu.x86.operations import Call, start_operation


class Model:
    """A copy of reference_mmu to run on: the shipped one."""

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Machine:
        """A machine of its own."""
        return Machine(config, semantics, actors, operations, judge)

    def start(self, m: Machine, actor: i64, call: Call) -> Flow:
        """The flow of an operation."""
        return start_operation(m, actor, call)


class LoadedModel(Model):
    """One that was loaded beside the shipped one, by the functions that make its machines and flows."""

    def __init__(self, make_machine: Callable[..., Machine], start_flow: Callable[[Machine, int, Call], Flow]) -> None:
        self.make_machine = make_machine
        self.start_flow = start_flow

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Machine:
        return self.make_machine(config, semantics, int(actors), int(operations), judge)

    def start(self, m: Machine, actor: i64, call: Call) -> Flow:
        return self.start_flow(m, int(actor), call)


SHIPPED: Final = Model()


def load_model(package: str) -> LoadedModel:
    """The model that `package` holds, a changed copy of reference_mmu."""
    machine = import_module(f"{package}.x86.machine")
    operations = import_module(f"{package}.x86.operations")
    return LoadedModel(machine.Machine, operations.start_operation)
