# SPDX-License-Identifier: GPL-2.0-only
"""What many tests are run with, each value in turn."""

from collections.abc import Callable

import pytest

from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD

BOTH = pytest.mark.parametrize("semantics", [OLD, NEW], ids=["old", "new"])
EVERY_MMU = pytest.mark.parametrize("mmu", ["tdp", "shadow"])
EVERY_PAGING = pytest.mark.parametrize("paging", ["ept-ad", "ept-ad-nopml", "ept-noad", "npt"])


def EVERY_MMU_OF_BOTH(test: Callable[..., None]) -> Callable[..., None]:  # noqa: N802, a mark like the others
    marked: Callable[..., None] = BOTH(EVERY_MMU(test))
    return marked
