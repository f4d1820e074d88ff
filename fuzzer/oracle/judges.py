# SPDX-License-Identifier: GPL-2.0-only
"""Which oracles judge a machine of an architecture: those of every machine, unless it has more of its own."""

from __future__ import annotations

from fuzzer.oracle.arm64_judge import Arm64Judge
from fuzzer.oracle.judge import Judge
from fuzzer.oracle.x86_judge import X86Judge
from reference_mmu.architectures import architecture_name
from reference_mmu.config import Config


def make_judge(config: Config) -> Judge:
    """The judge of one run."""
    arch = architecture_name(config)
    if arch == "x86":
        return X86Judge()
    return Arm64Judge() if arch == "arm64" else Judge()
