# SPDX-License-Identifier: GPL-2.0-only
"""A gfn-to-pfn cache looks its page up until no invalidation has come in between, and holds nothing afterwards."""

import pytest

from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import OLD, Semantics
from reference_mmu.kvm.pfncache import kvm_gpc_refresh
from reference_mmu.mm.mprotect import change_protection_numa
from reference_mmu.observed import COUNT_ACCESSED_MARKS, EV_ERRNO, EV_SHIFT
from reference_mmu.points import GPC_CHECK, GPC_LOOKUP
from tests.by_hand import MM
from tests.host_memory import Memory

SINCE = Semantics(closure(["pfncache-release-unused"]))


@pytest.mark.parametrize("semantics", [OLD, SINCE], ids=["old", "since"])
def test_a_refresh_marks_the_page_and_puts_it(semantics: Semantics) -> None:
    memory = Memory("anon", semantics)
    thread = memory.run(0, kvm_gpc_refresh(memory.m, 0))
    assert thread.points == [GPC_LOOKUP, GPC_CHECK]
    assert thread.count(COUNT_ACCESSED_MARKS) == 1
    assert memory.final_violations() == []


@pytest.mark.parametrize(("semantics", "marks"), [(OLD, 2), (SINCE, 1)], ids=["old", "since"])
def test_a_stale_attempt_is_repeated_and_marks_its_page_no_more(semantics: Semantics, marks: int) -> None:
    memory = Memory("anon", semantics)
    thread = memory.thread(0, kvm_gpc_refresh(memory.m, 0)).to(GPC_CHECK)
    memory.run(MM, change_protection_numa(memory.m, 0, 1))
    thread.finish()
    assert thread.points.count(GPC_LOOKUP) == 2
    assert thread.count(COUNT_ACCESSED_MARKS) == marks
    assert memory.page().kvm_refs == 0
    assert ("late-page-mark" in memory.final_violations()) == (marks == 2)


def test_what_is_not_there_fails() -> None:
    memory = Memory("hwpoison", SINCE)
    assert [event >> EV_SHIFT for event in memory.run(0, kvm_gpc_refresh(memory.m, 0)).events()] == [EV_ERRNO]
