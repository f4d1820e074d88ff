# SPDX-License-Identifier: GPL-2.0-only
"""The commands of `mmufuzz`, one file each, listed in cli/main.py."""
