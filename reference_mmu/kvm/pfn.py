# SPDX-License-Identifier: GPL-2.0-only
"""What a look-up gives instead of a pfn when it has none (include/linux/kvm_host.h): no errno, and no pfn."""

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

KVM_PFN_ERR_FAULT: Final[i64] = -1001
KVM_PFN_ERR_HWPOISON: Final[i64] = -1002
KVM_PFN_ERR_RO_FAULT: Final[i64] = -1003  # a write to what may only be read
KVM_PFN_ERR_SIGPENDING: Final[i64] = -1004
KVM_PFN_ERR_NEEDS_IO: Final[i64] = -1005  # only of a look-up that must not wait
KVM_PFN_NOSLOT: Final[i64] = -1006

NO_PAGE: Final[i64] = -1
"""NULL where a struct page is named by its pfn."""


def is_error_noslot_pfn(pfn: i64) -> bool:
    """is_error_noslot_pfn()"""
    return pfn < 0


def is_error_pfn(pfn: i64) -> bool:
    """is_error_pfn()"""
    return pfn < 0 and pfn != KVM_PFN_NOSLOT
