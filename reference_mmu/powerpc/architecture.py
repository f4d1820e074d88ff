# SPDX-License-Identifier: GPL-2.0-only
"""powerpc as a row of the table of architectures: a machine for each flavour."""

from __future__ import annotations

from mypy_extensions import i64

from ..architecture import Architecture
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.vm import Vm
from ..oracle import Oracle
from .e500 import E500
from .points import POINTS


class PowerpcArchitecture(Architecture):
    """The points of all its MMUs, and its machines."""

    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        return E500(config, sem, actors, operations, oracle)
