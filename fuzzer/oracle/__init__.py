# SPDX-License-Identifier: GPL-2.0-only
"""The invariants, each checked at its deadline by the file that has the state it needs; judge.py hands the events of a
machine to them."""
