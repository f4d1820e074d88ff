# SPDX-License-Identifier: GPL-2.0-only
"""The shipped model, and copies of it under other names."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from fuzzer.execute import LoadedModel, Model

SHIPPED: Final = Model()


def load_model(package: str) -> LoadedModel:
    """The model that `package` holds, a changed copy of reference_mmu."""
    machine = import_module(f"{package}.machine")
    operations = import_module(f"{package}.operations")
    return LoadedModel(machine.Machine, operations.start_operation)
