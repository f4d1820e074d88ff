# SPDX-License-Identifier: GPL-2.0-only
"""What all architectures share, after virt/kvm/ of the kernel: memslots, locks, mmu_notifier, remote flushes."""
