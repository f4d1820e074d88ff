# SPDX-License-Identifier: GPL-2.0-only
"""deploy/Dockerfile: lean, not root, the same packages as here; and nothing gets into it that should not."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.files import DEPLOY, ROOT

TEXT = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
STAGES = re.split(r"^FROM .*\n", TEXT, flags=re.MULTILINE)
STANDINS = Path(__file__).parent / "standins" / "Dockerfile"


def pins(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE))


def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([Path(sys.executable).with_name("hadolint"), DEPLOY / "Dockerfile"], capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"")


def test_every_builder_understands_it() -> None:
    assert "--mount" not in TEXT, "the old builder does not know it"
    assert "<<" not in TEXT, "nor documents within it"


def test_only_the_first_stage_compiles() -> None:
    assert len(STAGES) == 3
    assert "fuzzer.compiled" in STAGES[1]
    assert "RUN" not in STAGES[2]
    assert "MMUFUZZ_CORE=compiled" in STAGES[2], "it does not run interpreted without a word"
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", STAGES[2], re.MULTILINE)


def test_both_bases_have_the_python_that_the_project_needs() -> None:
    bases = re.findall(r"^ARG \w*BASE=python:([\d.]+)", TEXT, re.MULTILINE)
    assert len(bases) == 2
    assert len(set(bases)) == 1
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert tuple(map(int, bases[0].split("."))) >= tuple(map(int, needed.removeprefix(">=").split(".")))


def test_it_installs_what_was_tested() -> None:
    image, here = pins(DEPLOY / "requirements.txt"), pins(ROOT / "requirements.txt")
    assert {name: here.get(name) for name in image} == image
    assert {"celery", "fastapi", "psycopg-binary", "mypy"} <= image.keys()
    assert not {"pytest", "hypothesis", "playwright"} & image.keys()
    text = (DEPLOY / "requirements.txt").read_text(encoding="utf-8")
    assert text.count("==") <= text.count("--hash=sha256:"), "each with its hash"


def test_what_is_built_from_is_named_one_by_one() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[lines.index("*") - 1].startswith("#"), "everything is left out"
    let_in = {line.removeprefix("!") for line in lines if line.startswith("!")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert let_in == packages | {"LICENSE", "README.md", "pyproject.toml", "deploy/requirements.txt"}
    assert all((ROOT / name).exists() for name in let_in)


def test_what_compiles_stays_behind() -> None:
    """Everything that only the extra `compile` brings is uninstalled before the packages are copied."""
    removed = re.search(r"pip uninstall --quiet --yes (.*)", TEXT)
    assert removed
    installed = pins(DEPLOY / "requirements.txt").keys()
    assert set(removed[1].split()) - {"pip"} <= installed
    assert {"mypy", "setuptools", "pip"} <= set(removed[1].split())
    assert not {"librt", "mypy-extensions"} & set(removed[1].split()), "which the compiled core needs"
