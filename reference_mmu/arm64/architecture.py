# SPDX-License-Identifier: GPL-2.0-only
"""arm64 as a row of the table of architectures."""

from __future__ import annotations

from mypy_extensions import i64

from ..architecture import Architecture
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.vm import Vm
from ..oracle import Oracle
from .arm64 import Arm64
from .points import POINTS


class Arm64Architecture(Architecture):
    """Its points, and its machines."""

    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        return Arm64(config, sem, actors, operations, oracle)
