# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz` in a process of its own, as a shell would start it; from changed sources if a test says so."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from db.session import open_database
from db.store import Store

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("reference_mmu", "fuzzer", "db", "workers", "dashboard", "cli")
COMMAND = (sys.executable, "-m", "cli.main")


def environment(sources: Path = ROOT, core: str = "auto") -> dict[str, str]:
    """Compiled where there is a core of these sources: nobody reaches into a process of its own."""
    return {**os.environ, "PYTHONPATH": str(sources), "MMUFUZZ_CORE": core}


def mmufuzz(
    words: str, folder: Path, sources: Path = ROOT, core: str = "", seconds: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end in `folder`; interpreted with a change of the model, which would be compiled for
    longer than it is searched."""
    core = core or ("interpreted" if "--apply" in words else "auto")
    return subprocess.run(
        [*COMMAND, *shlex.split(words)],
        cwd=folder,
        env=environment(sources, core),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def changed_sources(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the sources in which the text `old` of one file reads `new`."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file} has {text.count(old)} times {old!r}"
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def report_in(folder: Path) -> Any:
    """The document that `--json report.json` wrote there."""
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def store_in(folder: Path) -> Store:
    """The database that a command left there."""
    return Store(open_database(f"sqlite:///{folder / 'mmufuzz.db'}"))


class Searched(NamedTuple):
    """A finished `mmufuzz run … --json report.json` in `folder`."""

    folder: Path
    process: subprocess.CompletedProcess[str]

    @property
    def report(self) -> Any:
        return report_in(self.folder)

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder / "findings").iterdir())

    @property
    def database(self) -> str:
        return f"sqlite:///{self.folder / 'mmufuzz.db'}"

    def file_of(self, what: str, patch: str) -> Path:
        """A reproducer of that effect or invariant, attributed to that patch alone."""
        found = (f for f in self.report["findings"] if f["what"] == what and f["patches"] == [patch])
        return self.folder / str(next(found)["reproducer"])
