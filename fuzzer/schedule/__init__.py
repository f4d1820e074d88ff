# SPDX-License-Identifier: GPL-2.0-only
"""Who runs when: the schedulers, and the two forms in which a schedule is kept, turns and switches."""
