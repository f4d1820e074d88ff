# SPDX-License-Identifier: GPL-2.0-only
"""The host's memory below KVM, after mm/ of the kernel: what a page is, GUP, and what the primary MMU does to pages."""
