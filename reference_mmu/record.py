# SPDX-License-Identifier: GPL-2.0-only
"""A record: fields with types, and values that are given once."""

from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Record(msgspec.Struct, frozen=True):
    """A Struct that stays as it was made. msgspec makes subclasses frozen too; type checkers are told so above."""
