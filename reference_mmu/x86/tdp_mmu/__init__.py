# SPDX-License-Identifier: GPL-2.0-only
"""The TDP MMU, after tdp_mmu.c and tdp_iter.c of arch/x86/kvm/mmu/."""
