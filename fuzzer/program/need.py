# SPDX-License-Identifier: GPL-2.0-only
"""What a machine must have for an operation to make sense on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from reference_mmu.config import Config


class Need(NamedTuple):
    """`is_met`: does this machine have it? `unmet`: what to say to who asks for the operation on one that has not."""

    is_met: Callable[[Config], bool]
    unmet: str


X86: Final = Need(lambda config: config.architecture == "x86", "only x86 has this operation")
DIRTY_LOG: Final = Need(lambda config: config.mmu_name != "e500", "no dirty log of this MMU")
PR: Final = Need(lambda config: config.mmu_name in ("book3s_pr", "book3s_pr_32"), "only PR mode has this operation")
HV: Final = Need(lambda config: config.mmu_name in ("book3s_hv", "book3s_radix"), "only HV mode has this operation")
ARM64: Final = Need(lambda config: config.architecture == "arm64", "only arm64 has this operation")
S390: Final = Need(lambda config: config.architecture == "s390", "only s390 has this operation")
GUEST_MEMFD: Final = Need(lambda config: config.gmem_pages > 0, "no memslot has a guest_memfd")
GUEST_TABLES: Final = Need(lambda config: config.cr3 >= 0, "a guest without page tables of its own")
INVLPG_FLUSHES: Final = Need(lambda config: config.paging == "npt", "INVLPG does not flush L1's EPT")
APIC_PAGE: Final = Need(
    lambda config: config.apic_access_page is not None, "a virtual APIC needs a configuration with apic_page"
)
SMALLER_THAN_1G: Final = Need(
    lambda config: not config.has_gigantic, "a page of 1G is neither moved, nor split, nor unmapped in part"
)
NESTED_ROOTS: Final = Need(lambda config: config.nested, "nested needs a configuration with nested roots")
