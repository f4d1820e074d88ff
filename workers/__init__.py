# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns split into batches and worked off, by local processes or by a fleet."""
