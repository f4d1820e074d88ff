# SPDX-License-Identifier: GPL-2.0-only
"""Error numbers, as functions of the kernel return them negated (include/uapi/asm-generic/errno-base.h, errno.h)."""

from typing import Final

from mypy_extensions import i64

EINTR: Final[i64] = 4
EIO: Final[i64] = 5
ENOEXEC: Final[i64] = 8
EAGAIN: Final[i64] = 11
ENOMEM: Final[i64] = 12
EFAULT: Final[i64] = 14
EBUSY: Final[i64] = 16
EEXIST: Final[i64] = 17
EINVAL: Final[i64] = 22
EHWPOISON: Final[i64] = 133
