# SPDX-License-Identifier: GPL-2.0-only
"""A replay told to people: step by step as text, as pictures of the state, as the chance that it shows from each step
on; export/ writes it to files."""
