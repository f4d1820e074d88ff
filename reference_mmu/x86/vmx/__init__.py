# SPDX-License-Identifier: GPL-2.0-only
"""What KVM does with Intel's VMX (arch/x86/kvm/vmx)."""
