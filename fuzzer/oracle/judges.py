# SPDX-License-Identifier: GPL-2.0-only
"""Which oracles judge a machine of an architecture: those of every machine, unless it has more of its own."""

from __future__ import annotations

from fuzzer.oracle.judge import Judge
from fuzzer.oracle.x86_judge import X86Judge


def make_judge(architecture: str) -> Judge:
    """The judge of one run."""
    return X86Judge() if architecture == "x86" else Judge()
