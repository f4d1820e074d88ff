# SPDX-License-Identifier: GPL-2.0-only
"""KVM's x86 MMU, after arch/x86/kvm/mmu/ of the kernel, and the hardware that walks its page tables. Here is what both
MMUs share; tdp_mmu/ and shadow_mmu/ have what is theirs."""
