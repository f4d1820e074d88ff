# SPDX-License-Identifier: GPL-2.0-only
"""What was seen becomes a finding: which patches cause it, whether their messages allow it, and which of the waiting
cases is judged next."""
