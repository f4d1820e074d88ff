# SPDX-License-Identifier: GPL-2.0-only
"""Flows of powerpc driven by hand."""

from typing import Any

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.operations import PATCH_DCBZ, SHARE_PAGE, Call
from tests.by_hand import Thread
from tests.stage2_by_hand import Stage2Stage


class PowerpcStage(Stage2Stage):
    """A machine with the MMU `flavour`. Keywords are fields of Config."""

    def __init__(self, flavour: str, semantics: Semantics = NEW, **config: Any) -> None:
        super().__init__("powerpc", semantics, flavour=flavour, **config)

    def patch_dcbz(self, gfn: int) -> Thread:
        return self.thread(0, self.m.start(0, Call(0, PATCH_DCBZ, gfn)))

    def share_page(self, gfn: int) -> Thread:
        return self.thread(0, self.m.start(0, Call(0, SHARE_PAGE, gfn)))
