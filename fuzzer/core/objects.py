# SPDX-License-Identifier: GPL-2.0-only
"""Object files, kept by what they were made from: the same C is compiled once."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from mypyc.build import include_dir

# A core has objects of 7 MB.
BYTES_KEPT: Final = 64 << 20


class Objects:
    """A folder of object files that several compilations may share, also at the same time.

    Each is named by a digest of the C, the command that compiles it and what the C includes: none is ever out of date.
    """

    def __init__(self, folder: Path, command: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._toolchain = _toolchain(command)

    def of(self, source: Path, compile_it: Callable[[], Path]) -> Path:
        """The object of a C file that includes no other of its project: the one that is there, or else what
        `compile_it` makes, which has to be on the same file system."""
        kept = self.folder / f"{hashlib.sha256(self._toolchain + source.read_bytes()).hexdigest()}.o"
        if kept.exists():
            kept.touch()
        else:
            compile_it().replace(kept)
        return kept

    def drop_old(self) -> None:
        """Keep those that were used last, as many as BYTES_KEPT hold. A compilation under way has used its own."""
        kept = 0
        sizes = {file: file.stat() for file in self.folder.glob("*.o")}
        for file, status in sorted(sizes.items(), key=lambda item: item[1].st_mtime_ns, reverse=True):
            kept += status.st_size
            if kept > BYTES_KEPT:
                file.unlink(missing_ok=True)


def _toolchain(command: list[str]) -> bytes:
    """Digest of the compiler, its options, the headers of mypyc, and of the interpreter for its own headers."""
    version = subprocess.run([*command, "--version"], capture_output=True).stdout
    digest = hashlib.sha256(f"{sys.version} {command}\n".encode() + version)
    for header in sorted(Path(include_dir()).rglob("*.[ch]")):
        digest.update(header.name.encode() + header.read_bytes())
    return digest.digest()
