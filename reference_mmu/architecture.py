# SPDX-License-Identifier: GPL-2.0-only
"""What makes an architecture: its points, and its machine."""

from __future__ import annotations

from mypy_extensions import i64

from .changelog.semantics import Semantics
from .config import Config
from .kvm.vm import Vm
from .oracle import Oracle
from .points import PointTable


class Architecture:
    """A row of architectures.py: the architecture overrides machine()."""

    def __init__(self, points: PointTable) -> None:
        self.points = points

    def machine(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> Vm:
        """A machine of its own for so many actors and operations."""
        raise NotImplementedError
