# SPDX-License-Identifier: GPL-2.0-only
"""What the primary MMU does must not depend on how KVM asks it: tests that drive vCPUs run before the series and after
it."""

import pytest

from reference_mmu.changelog.semantics import NEW, Semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from tests.by_hand import Stage


@pytest.fixture(params=[OLD, NEW], ids=["old", "new"])
def semantics(request: pytest.FixtureRequest) -> Semantics:
    found: Semantics = request.param
    return found


@pytest.fixture
def stage(semantics: Semantics) -> Stage:
    """A machine whose memory is anonymous pages, none of them huge."""
    return Stage(semantics)
