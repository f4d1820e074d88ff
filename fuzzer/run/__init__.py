# SPDX-License-Identifier: GPL-2.0-only
"""One program on two models in lockstep, and what the two did differently."""
