# SPDX-License-Identifier: GPL-2.0-only
"""arch/s390/kvm/: a guest that hardware runs on the page tables of its process, and the pages that KVM pins for a
guest of the guest's. Read vsie.py, then s390.py."""
