# SPDX-License-Identifier: GPL-2.0-only
"""The commits between OLD and NEW: the catalogue of their messages, the effects that these may allow, and one switch
for each."""
