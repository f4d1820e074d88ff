# SPDX-License-Identifier: GPL-2.0-only
"""powerpc: several MMUs that have little more in common than the folder (arch/powerpc/kvm/).

On e500 and in PR mode KVM itself fills what the CPU looks an address up in: software_tlb.py, then e500_mmu_host.py and
book3s_64_mmu_host.py. HV keeps a table that hardware walks, on top of the room stage2: book3s_hv.py, then
book3s_64_mmu_radix.py and book3s_64_mmu_hv.py. Which MMU a machine has is Config.flavour.
"""
