# SPDX-License-Identifier: GPL-2.0-only
"""Random programs, schedules, the lockstep pair, oracles, verdicts and minimization.

This file imports nothing: `fuzzer.compiled` must be able to put the compiled core in place before any submodule loads.
"""
