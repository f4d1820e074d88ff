# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_s2_mmu beside its table (arch/arm64/include/asm/kvm_host.h)."""

from __future__ import annotations

from mypy_extensions import i64

from ..changelog.semantics import Semantics
from ..config import Config
from ..oracle import Oracle
from ..stage2.stage2 import Stage2
from .points import POINTS


class Arm64Machine(Stage2):
    """`eager_page_split`: split_page_chunk_size is a block, and not 0. `split_page_cache`: pages in hand to split with;
    there is room for as many as one chunk needs."""

    def __init__(self, config: Config, sem: Semantics, actors: i64, operations: i64, oracle: Oracle) -> None:
        self.eager_page_split = config.eager_split
        self.split_page_cache: i64 = 0
        super().__init__(config, POINTS, sem, actors, operations, oracle)
