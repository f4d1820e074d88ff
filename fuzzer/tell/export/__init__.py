# SPDX-License-Identifier: GPL-2.0-only
"""A reproducer in other forms: to be read, run by pytest, or opened in a trace viewer; each can be replayed itself."""
