# SPDX-License-Identifier: GPL-2.0-only
"""The smallest program and schedule that still show a finding."""
