# SPDX-License-Identifier: GPL-2.0-only
"""arm64: stage-2 tables that faults change as readers of mmu_lock, break before make (arch/arm64/kvm/mmu.c,
hyp/pgtable.c). Reading order: tlb, pgtable, mmu, fault, then the machine in arm64."""
