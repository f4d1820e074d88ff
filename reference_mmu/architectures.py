# SPDX-License-Identifier: GPL-2.0-only
"""The architectures that the model has, by the kernel's name for their folder in arch/."""

from __future__ import annotations

from typing import Final

from .architecture import Architecture
from .arm64.architecture import Arm64Architecture
from .config import Config
from .loongarch.architecture import LoongarchArchitecture
from .mips.architecture import MipsArchitecture
from .powerpc.architecture import PowerpcArchitecture
from .riscv.architecture import RiscvArchitecture
from .s390.architecture import S390Architecture
from .x86.architecture import X86Architecture

ARCHITECTURES: Final[dict[str, Architecture]] = {
    "x86": X86Architecture(),
    "arm64": Arm64Architecture(),
    "powerpc": PowerpcArchitecture(),
    "riscv": RiscvArchitecture(),
    "loongarch": LoongarchArchitecture(),
    "mips": MipsArchitecture(),
    "s390": S390Architecture(),
}


def architecture_name(config: Config) -> str:
    """Config.architecture, in compiled code: every machine asks this."""
    arch = config.arch
    return arch if isinstance(arch, str) else "x86"


def architecture_of(config: Config) -> Architecture:
    """That of a configuration. Raises KeyError for one that there is not."""
    return ARCHITECTURES[architecture_name(config)]
