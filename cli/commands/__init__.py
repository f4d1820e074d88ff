# SPDX-License-Identifier: GPL-2.0-only
"""The commands of `mmufuzz`: each is a file that defines a function of its own name, listed in cli/main.py."""
