# SPDX-License-Identifier: GPL-2.0-only
"""Flows of s390 driven by hand."""

from typing import Any

import pytest

from fuzzer.oracle.judges import make_judge
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.config import Config
from reference_mmu.mm.page import Page
from reference_mmu.operations import READ, WRITE, Call
from reference_mmu.s390.s390 import S390
from tests.by_hand import ACTORS, OPERATIONS, AnyStage, Thread

OLD_AND_NEW = pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])


class S390Stage(AnyStage):
    """A machine of s390. Keywords are fields of Config."""

    def __init__(self, semantics: Semantics = NEW, **config: Any) -> None:
        super().__init__()
        machine = Config(arch="s390", **config).check()
        self.judge = make_judge(machine)
        self.m: S390 = S390(machine, semantics, ACTORS, OPERATIONS, self.judge)

    def access(self, vcpu: int, gfn: int, *, write: bool = False, upgrade_fails: bool = False) -> Thread:
        return self.thread(vcpu, self.m.start(vcpu, Call(0, WRITE if write else READ, gfn)))

    def page(self, gfn: int) -> Page:
        """The folio that the process has for a gfn of the first memslot."""
        (slot, *_) = self.m.memslots
        return self.m.host.folio(self.m.host.pte[slot.hva + gfn - slot.base_gfn])
