# SPDX-License-Identifier: GPL-2.0-only
"""s390 as a row of the table of architectures."""

from __future__ import annotations

from mypy_extensions import i64

from ..architecture import Architecture
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.vm import Vm
from ..oracle import Oracle
from .points import POINTS
from .s390 import S390


class S390Architecture(Architecture):
    """Its points, and its machines."""

    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        return S390(config, sem, actors, operations, oracle)
