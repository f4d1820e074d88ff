# SPDX-License-Identifier: GPL-2.0-only
"""The two sides of a comparison."""

from typing import Literal

Side = Literal["old", "new"]
