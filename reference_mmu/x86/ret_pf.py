# SPDX-License-Identifier: GPL-2.0-only
"""enum ret_pf: how a page fault ended (arch/x86/kvm/mmu/mmu_internal.h)."""

from typing import Final

RET_PF_CONTINUE: Final = 0  # so far, so good, keep handling the fault
RET_PF_RETRY: Final = 1  # let the CPU fault again on the address
RET_PF_EMULATE: Final = 2  # MMIO, or a page KVM cannot map: emulate
RET_PF_WRITE_PROTECTED: Final = 3  # the gfn is write-protected: emulate
RET_PF_INVALID: Final = 4  # the SPTE is not what the fast path can fix
RET_PF_FIXED: Final = 5
RET_PF_SPURIOUS: Final = 6  # somebody else fixed it
