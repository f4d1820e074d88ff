# SPDX-License-Identifier: GPL-2.0-only
"""MIPS as a row of the table of architectures."""

from __future__ import annotations

from mypy_extensions import i64

from ..architecture import Architecture
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.vm import Vm
from ..oracle import Oracle
from .mips import Mips
from .points import POINTS


class MipsArchitecture(Architecture):
    """Its points, and its machines."""

    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        return Mips(config, sem, actors, operations, oracle)
