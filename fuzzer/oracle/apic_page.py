# SPDX-License-Identifier: GPL-2.0-only
"""The APIC access page in a VMCS is a translation like those of a TLB: no page that the host has given away."""

from __future__ import annotations

from mypy_extensions import i64, mypyc_attr

from fuzzer.oracle.mappings import Mappings
from fuzzer.oracle.reports import Reports
from reference_mmu.x86.vcpu_arch import Vcpu
from reference_mmu.x86.x86 import X86


@mypyc_attr(acyclic=True, free_list_len=1)
class ApicPage:
    """`mappings`: knows which invalidations are in progress."""

    def __init__(self, reports: Reports, mappings: Mappings) -> None:
        self.reports = reports
        self.mappings = mappings

    def used(self, m: X86, vcpu: Vcpu) -> None:
        """The guest runs with the page. While it is L2 that runs, the VMCS of L1 counts for nothing."""
        if not vcpu.virtualizes_apic_accesses or vcpu.guest_mode:
            return
        pfn = vcpu.apic_access_addr
        if pfn < 0:
            self.reports.report("stale-apic-page")
            return
        hva = m.host.pages[pfn].hva
        invalidating = any(start <= hva < end for start, end in self.mappings.invalidating)
        if invalidating or m.host.page_at(hva) != pfn:
            self.reports.report("stale-apic-page")

    def invalidate_started(self, m: X86, hva_start: i64, hva_end: i64) -> None:
        """When invalidate_range_start returns, every vCPU that has the page is out of the guest, and asked to renew
        it, or does so already: used() judges what that comes to."""
        for vcpu in m.x86_vcpus:
            pfn = vcpu.apic_access_addr
            if pfn < 0 or not hva_start <= m.host.pages[pfn].hva < hva_end:
                continue
            asked = vcpu.apic_page_reload or vcpu.reloads_apic_page or vcpu.reload_vmcs01_apic_access_page
            if not asked or (vcpu.accessing and not vcpu.kicked):
                self.reports.report("stale-apic-page")
