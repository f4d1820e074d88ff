# SPDX-License-Identifier: GPL-2.0-only
"""A vCPU that does not hear remote flushes: what a missed one leaves behind."""

from __future__ import annotations

from reference_mmu.kvm.vcpu import TlbEntries


class Deaf(TlbEntries):
    """Its TLB, or its structure cache, with the entries it has so far."""

    def __init__(self, entries: TlbEntries | None = None) -> None:
        super().__init__()
        for key, value in entries.items() if entries is not None else []:
            self.put(key, value)

    def clear(self) -> None:
        pass
