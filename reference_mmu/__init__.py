# SPDX-License-Identifier: GPL-2.0-only
"""An executable model of KVM's MMU and of the host memory below it, with each patch of the catalogue switchable.

This file imports nothing: `fuzzer.compiled` must be able to put the compiled core in place before any submodule loads.
"""

__version__ = "0.1.0"
