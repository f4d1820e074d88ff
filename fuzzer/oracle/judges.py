# SPDX-License-Identifier: GPL-2.0-only
"""Which oracles judge a machine of an architecture: those of every machine, unless it has more of its own."""

from __future__ import annotations

from fuzzer.oracle.judge import Judge
from fuzzer.oracle.x86_judge import X86Judge
from reference_mmu.config import Config


def make_judge(config: Config) -> Judge:
    """The judge of one run."""
    arch = config.arch
    return Judge() if isinstance(arch, str) and arch != "x86" else X86Judge()
