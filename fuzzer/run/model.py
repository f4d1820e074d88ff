# SPDX-License-Identifier: GPL-2.0-only
"""A copy of reference_mmu to run on: the shipped one, and others that were loaded under other names."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
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


class LoadedModel(Model):
    """One that was loaded beside the shipped one, by the functions that make its machines and flows."""

    def __init__(self, make_machine: Callable[..., Vm], start_flow: Callable[[Vm, int, Call], Flow]) -> None:
        self.make_machine = make_machine
        self.start_flow = start_flow

    def machine(self, config: Config, semantics: Semantics, actors: i64, operations: i64, judge: Judge) -> Vm:
        return self.make_machine(config, semantics, int(actors), int(operations), judge)

    def start(self, m: Vm, actor: i64, call: Call) -> Flow:
        return self.start_flow(m, int(actor), call)


SHIPPED: Final = Model()


def load_model(package: str) -> LoadedModel:
    """The model that `package` holds, a changed copy of reference_mmu."""
    table = import_module(f"{package}.architectures").ARCHITECTURES

    def make_machine(config: Config, *arguments: object) -> Vm:
        machine: Vm = table[config.architecture].machine(config, *arguments)
        return machine

    return LoadedModel(make_machine, lambda m, actor, call: m.start(actor, call))
