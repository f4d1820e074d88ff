# SPDX-License-Identifier: GPL-2.0-only
"""Machines whose invalidations do not flush what they must, a bug that an oracle has to find; one of each architecture
but x86."""

from collections.abc import Generator
from typing import Any, Final

from mypy_extensions import i64

from fuzzer.run.model import SHIPPED, LoadedModel, Model
from reference_mmu.arm64.arm64 import Arm64
from reference_mmu.kvm.memslots import KvmGfnRange
from reference_mmu.loongarch.loongarch import Loongarch
from reference_mmu.mips.mips import Mips
from reference_mmu.powerpc.book3s_64_mmu_radix import Book3sRadix
from reference_mmu.riscv.riscv import Riscv
from tests.tiny_architecture import NAME, Tiny


class UnflushedTiny(Tiny):
    """Its invalidations say that nothing has to be flushed."""

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, Any]:
        yield from self.zap(gfn_range.start, gfn_range.end)
        return False


class UnflushedArm64(Arm64):
    """Its TLBIs reach one CPU."""

    def flush_range(self, first: i64, end: i64) -> None:
        self.drop(self.vcpus[0], first, end)
        self.oracle.range_flushed(self, first, end)


class UnflushedRadix(Book3sRadix):
    """Its tlbie reaches one CPU."""

    def flush_range(self, first: i64, end: i64) -> None:
        self.drop(self.vcpus[0], first, end)
        self.oracle.range_flushed(self, first, end)


class UnflushedRiscv(Riscv):
    """Its fences reach one CPU."""

    def flush_range(self, first: i64, end: i64) -> None:
        self.drop(self.vcpus[0], first, end)
        self.oracle.range_flushed(self, first, end)


class UnflushedLoongarch(Loongarch):
    """Its invalidations say that nothing has to be flushed."""

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from super().kvm_unmap_gfn_range(gfn_range)
        return False


class UnflushedMips(Mips):
    """Its invalidations say that nothing has to be flushed."""

    def kvm_unmap_gfn_range(self, gfn_range: KvmGfnRange) -> Generator[int, None, bool]:
        yield from super().kvm_unmap_gfn_range(gfn_range)
        return False


BROKEN: Final[dict[str, Model]] = {
    NAME: LoadedModel(UnflushedTiny, SHIPPED.start),
    "arm64": LoadedModel(UnflushedArm64, SHIPPED.start),
    "powerpc": LoadedModel(UnflushedRadix, SHIPPED.start),
    "riscv": LoadedModel(UnflushedRiscv, SHIPPED.start),
    "loongarch": LoadedModel(UnflushedLoongarch, SHIPPED.start),
    "mips": LoadedModel(UnflushedMips, SHIPPED.start),
}
