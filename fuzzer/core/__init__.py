# SPDX-License-Identifier: GPL-2.0-only
"""How the compiled core is built: C of its own for every module, compiled in parallel, and only if it is new."""
