# SPDX-License-Identifier: GPL-2.0-only
import ast
import shutil
from pathlib import Path

import pytest

from cli.bench.bugs import BUGS, Bug, number_of
from cli.bench.planted import plant, planted
from tests.quality.operators import mutants_by_name
from workers.refusal import BadInput

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the model's sources."""
    return Path(shutil.copytree(ROOT / "reference_mmu", tmp_path / "reference_mmu"))


def test_there_are_ten_and_each_says_what_it_is() -> None:
    assert len(BUGS) == len({bug.name for bug in BUGS}) == 10
    assert all(bug.about and bug.origin for bug in BUGS)


def test_every_bug_finds_its_place_and_only_new_has_it(model: Path) -> None:
    plant(model)
    text = "".join(file.read_text(encoding="utf-8") for file in model.rglob("*.py"))
    for bug in [bug for bug in BUGS if bug.function]:
        assert text.count(f"PLANTED == {number_of(bug)} and ") == 1, bug.name


def test_what_is_planted_is_python_and_nothing_else_changes(model: Path) -> None:
    before = {file: file.read_text(encoding="utf-8") for file in model.rglob("*.py")}
    plant(model)
    for file, text in before.items():
        after = file.read_text(encoding="utf-8")
        ast.parse(after)
        if "PLANTED" not in after:
            assert after == text


def function(source: str, name: str) -> str:
    """The text of a function, without comments."""
    (found,) = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef) and n.name == name]
    return ast.unparse(found)


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.function], ids=lambda bug: bug.name)
def test_a_bug_is_the_mutant_that_it_says(bug: Bug) -> None:
    """Taken by itself and made unconditional, it is the mutant, but for what stands in for nothing at all."""
    mutant = mutants_by_name()[bug.origin]
    shipped = function((ROOT / "reference_mmu" / mutant.file).read_text(encoding="utf-8"), bug.function)
    replaced = shipped.replace(ast.unparse(ast.parse(bug.old)), bug.new)
    assert replaced == function(mutant.source, bug.function).replace("yield from ()", "pass")


def test_a_model_that_has_moved_on_is_refused_in_one_line(model: Path) -> None:
    file = model / "x86/fast_fault.py"
    text = file.read_text(encoding="utf-8").replace("if sp.spt[index] == spte:", "if spte == sp.spt[index]:")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"fast_page_fault\(\) has 0 times"):
        plant(model)


def test_a_module_without_bugs_is_left_alone() -> None:
    assert planted("x = 1\n") == "x = 1\n"
