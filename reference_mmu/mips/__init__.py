# SPDX-License-Identifier: GPL-2.0-only
"""MIPS: a fast path for entries that are old or clean, and a slow one that repeats itself while the page is stale
(arch/mips/kvm/mmu.c). Reading order: fast_fault, fault, then the machine in mips."""
