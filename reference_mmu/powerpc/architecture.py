# SPDX-License-Identifier: GPL-2.0-only
"""powerpc as a row of the table of architectures: a machine for each flavour."""

from __future__ import annotations

from mypy_extensions import i64

from ..architecture import Architecture
from ..changelog.semantics import Semantics
from ..config import Config
from ..kvm.vm import Vm
from ..oracle import Oracle
from .book3s_64_mmu_hv import Book3sHpt
from .book3s_64_mmu_radix import Book3sRadix
from .book3s_pr import Book3sPr, Book3sPr32
from .e500 import E500
from .points import POINTS


class PowerpcArchitecture(Architecture):
    """The points of all its MMUs, and its machines."""

    def __init__(self) -> None:
        super().__init__(POINTS)

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        flavour = config.mmu_name
        if flavour == "e500":
            return E500(config, sem, actors, operations, oracle)
        if flavour == "book3s_hv":
            return Book3sHpt(config, sem, actors, operations, oracle)
        if flavour == "book3s_pr":
            return Book3sPr(config, sem, actors, operations, oracle)
        if flavour == "book3s_pr_32":
            return Book3sPr32(config, sem, actors, operations, oracle)
        return Book3sRadix(config, sem, actors, operations, oracle)
