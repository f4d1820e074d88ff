# SPDX-License-Identifier: GPL-2.0-only
"""Campaigns, batches, findings, occurrences and reproducers, kept in SQL."""
