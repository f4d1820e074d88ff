# SPDX-License-Identifier: GPL-2.0-only
"""Which oracles judge a machine of an architecture: those of every machine, unless it has more of its own."""

from __future__ import annotations

from fuzzer.oracle.arm64_judge import Arm64Judge
from fuzzer.oracle.judge import Judge
from fuzzer.oracle.mips_judge import MipsJudge
from fuzzer.oracle.riscv_judge import RiscvJudge
from fuzzer.oracle.x86_judge import X86Judge
from reference_mmu.architectures import architecture_name
from reference_mmu.config import Config


def make_judge(config: Config) -> Judge:
    """The judge of one run."""
    match architecture_name(config):
        case "x86":
            return X86Judge()
        case "arm64":
            return Arm64Judge()
        case "riscv":
            return RiscvJudge()
        case "mips":
            return MipsJudge()
        case _:
            return Judge()
