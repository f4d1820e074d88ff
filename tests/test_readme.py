# SPDX-License-Identifier: GPL-2.0-only
"""Every command that README.md shows is run, in its order; long ones with a smaller budget, said here."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.changes import NO_FLUSH

ROOT: Final = Path(__file__).parent.parent
# What is changed so that the test takes seconds; the options themselves stay those of the README.
SMALLER: Final = {
    "run --seconds 20": "run --programs 40 --seed 3 --jobs 1",
    "run --apply my-change.patch": "run --apply my-change.patch --programs 12 --seed 1 --jobs 1",
    "prove --all": "prove drop-max-level-param",
    "expose --all": "expose always-dirty-if-writable",
    "headline": "headline --scale 64",
}


def commands() -> list[str]:
    """The lines of the sh blocks, comments and alignment removed."""
    text = (ROOT / "README.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [re.sub(r"\s+", " ", line.partition("#")[0]).strip() for line in lines]


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    ran = []
    (tmp_path / "my-change.patch").write_text(NO_FLUSH, encoding="utf-8")
    for command in [c for c in commands() if c.startswith("mmufuzz")]:
        arguments = command.removeprefix("mmufuzz ")
        for long, short in SMALLER.items():
            arguments = arguments.replace(long, short)
        if "NAME" in arguments:
            first = min((tmp_path / "findings").glob("*.json"))
            arguments = arguments.replace("findings/NAME.json", f"findings/{first.name}")
        done = subprocess.run(
            [sys.executable, "-m", "workers.cli", *arguments.split()],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "MMUFUZZ_CORE": "interpreted"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == ("--apply" in arguments), f"{command}: {done.stderr or done.stdout}"
        assert done.stdout, command
        ran.append(arguments.split()[0])
    assert ran == ["patches", "patches", "run", "findings", "replay", "expose", "prove", "headline", "run", "export"]


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [c.split()[1] for c in commands() if c.startswith("make ")]
    assert targets == ["run", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_the_readme_links_to_exists() -> None:
    text = (ROOT / "README.md").read_text()
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("https://")]
    assert len(links) >= 4
    for link in links:
        assert (ROOT / link).exists(), link
