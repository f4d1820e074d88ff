# SPDX-License-Identifier: GPL-2.0-only
"""What README.md, docs/tour.md and docs/contributing.md show is run, in order; what takes long with a smaller budget,
said here."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from fuzzer.change.variant import changed_models
from tests.changes import METHOD, NO_FLUSH
from tests.cli.shell import mmufuzz

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES: Final = sorted((ROOT / "docs" / "examples").glob("*.patch"))
SHOWN: Final = {
    "README.md": "patches patches run findings replay expose prove headline run run export",
    "docs/tour.md": "patches patches run findings replay expose run",
    "docs/contributing.md": "replay replay replay replay",
}
# What is changed so that the test takes seconds; the options themselves stay those of the text.
SMALLER: Final = {
    "run --seconds 20": "run --programs 40 --seed 3 --jobs 1",
    "run --apply my-change.patch": "run --apply my-change.patch --programs 12 --seed 1 --jobs 1",
    "--apply 2.patch": "--apply 2.patch --programs 12 --seed 1 --jobs 1",
    "flush.patch --seconds 20": "flush.patch --programs 12 --seed 1 --jobs 1",
    "prove --all": "prove drop-max-level-param",
    "expose --all": "expose always-dirty-if-writable",
    "headline": "headline --scale 64",
}


def commands(file: str) -> list[str]:
    """The lines of the sh blocks, comments and alignment removed."""
    text = (ROOT / file).read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [re.sub(r"\s+", " ", line.partition("#")[0]).strip() for line in lines]


@pytest.mark.parametrize("file", SHOWN)
def test_every_command_shown_works(file: str, tmp_path: Path) -> None:
    ran = []
    for name, diff in (("my-change", NO_FLUSH), ("1", METHOD), ("2", NO_FLUSH)):
        (tmp_path / f"{name}.patch").write_text(diff, encoding="utf-8")
    for folder in ("docs", "tests"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for command in [c for c in commands(file) if c.startswith("mmufuzz")]:
        arguments = command.removeprefix("mmufuzz ")
        for long, short in SMALLER.items():
            arguments = arguments.replace(long, short)
        if "NAME" in arguments:
            first = min((tmp_path / "findings").glob("*.json"))
            arguments = arguments.replace("findings/NAME.json", f"findings/{first.name}")
        done = mmufuzz(arguments, tmp_path)
        assert done.returncode == ("--apply" in arguments), f"{command}: {done.stderr or done.stdout}"
        assert done.stdout, command
        ran.append(arguments.split()[0])
    assert ran == SHOWN[file].split()


def test_every_script_shown_works() -> None:
    """With NEW it is quiet, with the base of the series x86-mmu it shows the bug that the text says."""
    text = (ROOT / "docs" / "contributing.md").read_text()
    (script,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    said = re.findall(r"With NO_STRUCT_PAGE for NEW the last line says `(.*?)`", text)
    ends = []
    for semantics in ("NEW", "NO_STRUCT_PAGE"):
        command = [sys.executable, "-c", script.replace("NEW", semantics)]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ends.append(done.stdout.split(" ", 3)[-1].strip())
    assert ends == ["[]", *said]


def test_the_test_that_is_shown_is_there() -> None:
    shown = [command for command in commands("docs/contributing.md") if command.startswith(".venv/bin/pytest ")]
    assert len(shown) == 1
    command = [sys.executable, "-m", "pytest", "-q", *shown[0].split()[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[1-9]\d* passed, [1-9]\d* deselected", done.stdout, re.MULTILINE), done.stdout


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [c.split()[1] for c in commands("README.md") if c.startswith("make ")]
    assert targets == ["run", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("file", DOCS, ids=lambda file: file.name)
def test_every_file_that_is_linked_to_exists(file: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text())
    for link in [link for link in links if not link.startswith("https://")]:
        assert (file.parent / link).exists(), link


@pytest.mark.parametrize("file", [file for file in DOCS if file.parent.name != "decisions"], ids=lambda file: file.name)
def test_every_source_that_is_named_exists(file: Path) -> None:
    """`fuzzer/run/lockstep.py` in a text is a file of this tree; a decision may name what was."""
    folders = "reference_mmu|fuzzer|workers|db|dashboard|tests|docs|benchmarks"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", file.read_text()):
        assert (ROOT / name).exists() or any(ROOT.glob(f"{name}.*")), name


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_example_of_a_change_applies(file: Path) -> None:
    assert changed_models(file.read_text()).diff


def test_the_texts_are_seen() -> None:
    assert len(DOCS) > 10
    assert len(EXAMPLES) > 1


def test_the_model_is_where_the_map_says() -> None:
    """docs/model.md: kernel function, file of the kernel, file of the model."""
    rows = re.findall(
        r"^\| `(\w+)\(\)`[^|]*\| \S+ \| `([\w/]+\.py)` \|$", (ROOT / "docs" / "model.md").read_text(), re.M
    )
    assert len(rows) == 12
    for function, file in rows:
        assert f"\ndef {function}(" in (ROOT / "reference_mmu" / file).read_text(encoding="utf-8"), function
