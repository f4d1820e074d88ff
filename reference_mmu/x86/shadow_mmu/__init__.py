# SPDX-License-Identifier: GPL-2.0-only
"""The MMU with tdp_mmu=N, after mmu.c and paging_tmpl.h of arch/x86/kvm/mmu/: direct maps, and shadow pages of the
guest's own page tables."""
