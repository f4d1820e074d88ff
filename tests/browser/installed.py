# SPDX-License-Identifier: GPL-2.0-only
"""mmufuzz as somebody has it who only installed it: not beside its sources, in an environment that knows nothing."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.cli.shell import ROOT

_INSTALL = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
_PACKAGES = ("reference_mmu", "fuzzer", "db", "workers", "dashboard", "cli")


class Installed(NamedTuple):
    """The folder that holds it."""

    folder: Path

    def run(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        """Run what a header says, in `folder`, with nothing of this process's environment but where Python is."""
        environment = {
            "PATH": os.pathsep.join([str(self.folder / "bin"), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
        }
        words = shlex.split(command)
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def install(folder: Path) -> Installed:
    """Install this checkout's sources as they are."""
    sources, target = folder / "sources", folder / "installed"
    for package in _PACKAGES:
        shutil.copytree(ROOT / package, sources / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, sources / name)
    subprocess.run([*_INSTALL, "--target", str(target), str(sources)], check=True, capture_output=True)
    shutil.rmtree(sources)
    return Installed(target)
