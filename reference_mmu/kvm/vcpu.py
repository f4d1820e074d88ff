# SPDX-License-Identifier: GPL-2.0-only
"""struct kvm_vcpu: what every architecture has, and what the CPU caches while it runs the guest."""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

# An entry of the TLB: pfn << TLB_PFN_SHIFT | rights.
TLB_R: Final[i64] = 1
TLB_W: Final[i64] = 2
TLB_D: Final[i64] = 4
TLB_PFN_SHIFT: Final[i64] = 12


@mypyc_attr(acyclic=True)
class TlbEntries:
    """What is cached, by key. Few at a time, so they are searched one after the other; the last one takes the place of
    one that is dropped."""

    def __init__(self) -> None:
        self.n: i64 = 0
        self.keys: vec[i64] = vec[i64](capacity=8)
        self.values: vec[i64] = vec[i64](capacity=8)

    def find(self, key: i64) -> i64:
        """Its place, -1: not cached."""
        for at in range(self.n):
            if self.keys[at] == key:
                return at
        return -1

    def get(self, key: i64) -> i64:
        """Its value, -1: not cached."""
        at = self.find(key)
        if at < 0:
            return -1
        return self.values[at]

    def put(self, key: i64, value: i64) -> None:
        at = self.find(key)
        if at >= 0:
            self.values[at] = value
        elif self.n < len(self.keys):
            self.keys[self.n] = key
            self.values[self.n] = value
            self.n += 1
        else:
            self.keys = append(self.keys, key)
            self.values = append(self.values, value)
            self.n += 1

    def drop(self, key: i64) -> None:
        at = self.find(key)
        if at >= 0:
            self.n -= 1
            self.keys[at] = self.keys[self.n]
            self.values[at] = self.values[self.n]

    def clear(self) -> None:
        self.n = 0

    def items(self) -> list[tuple[int, int]]:
        """(key, value) of each."""
        return [(int(self.keys[at]), int(self.values[at])) for at in range(self.n)]


@mypyc_attr(acyclic=True)
class KvmVcpu:
    """One virtual CPU: its TLB, its paging-structure cache, and whether it is in the guest."""

    def __init__(self, number: i64) -> None:
        self.number = number
        self.tlb = TlbEntries()  # Kvm.tlb_key() -> pfn << 12 | rights
        self.structure_cache = TlbEntries()  # Kvm.table_key() -> the table of that level, by its number
        self.exits: i64 = 0  # forced exits so far; a walk that sees it move is void
        self.accessing = False  # in the middle of an access by hardware
        self.kicked = False  # out of guest mode, exit handler still to run

    def flush(self) -> None:
        """Drop everything: a local flush, or this vCPU's part of a remote one."""
        self.tlb.clear()
        self.structure_cache.clear()
