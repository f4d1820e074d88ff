# SPDX-License-Identifier: GPL-2.0-only
"""Programs: the operations there are, what makes a program valid, how one is drawn from a seed, and the words that tell
it to people."""
