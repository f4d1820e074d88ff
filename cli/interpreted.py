# SPDX-License-Identifier: GPL-2.0-only
"""A change is read and told interpreted, and a command knows of one only after the core was chosen."""

import os
import sys

from fuzzer.compiled import LATER, use_compiled_core
from workers.refusal import BadInput


def require_interpreted() -> None:
    """Return if this process is interpreted, else start the same command again that way. To be called before anything
    was read from standard input or written. Raises BadInput if MMUFUZZ_CORE asks for the compiled core."""
    if not use_compiled_core().compiled:
        return
    if os.environ.get("MMUFUZZ_CORE") == "compiled":
        raise BadInput("a changed model is loaded interpreted; unset MMUFUZZ_CORE")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"MMUFUZZ_CORE": LATER})
