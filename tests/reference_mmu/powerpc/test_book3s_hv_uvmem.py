# SPDX-License-Identifier: GPL-2.0-only
"""Sharing pages with the hypervisor: which memory the ultravisor accepts."""

import pytest

from reference_mmu.changelog.semantics import NEW, OLD, Semantics
from reference_mmu.observed import EV_ERRNO, EV_SHIFT
from tests.powerpc_by_hand import PowerpcStage


@pytest.mark.parametrize(
    ("semantics", "backing", "refused"),
    [
        (OLD, "anon", False),
        (NEW, "anon", False),
        (OLD, "pfnmap-nostruct", False),
        (NEW, "pfnmap-nostruct", True),
        (NEW, "pfnmap-refcounted", True),
    ],
)
def test_memory_without_a_page_is_refused(semantics: Semantics, backing: str, refused: bool) -> None:
    stage = PowerpcStage("book3s_radix", semantics, backing=(backing, backing))
    share = stage.share_page(1).finish()
    errors = [event for event in stage.m.observed.events(share.uid) if event >> EV_SHIFT == EV_ERRNO]
    assert bool(errors) == refused
    assert stage.m.host.folio(stage.m.host.pte[1]).kvm_refs == 0
