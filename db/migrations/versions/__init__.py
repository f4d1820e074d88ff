# SPDX-License-Identifier: GPL-2.0-only
"""One file per revision, named after its number and its subject."""
