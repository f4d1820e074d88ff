# SPDX-License-Identifier: GPL-2.0-only
"""RISC-V: G-stage tables, every entry of which is changed under mmu_lock, a spinlock, and fenced on the spot
(arch/riscv/kvm/mmu.c). Reading order: gstage, fault, then the machine in riscv."""
