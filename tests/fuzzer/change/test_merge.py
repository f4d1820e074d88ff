# SPDX-License-Identifier: GPL-2.0-only
"""Two sides of a change as one model, and which changes cannot be that."""

from pathlib import Path
from typing import Any

import pytest

import fuzzer
import reference_mmu
from fuzzer.change.applied import APPLIED
from fuzzer.change.merge import Unmergeable, merge

MODEL, FUZZER = (Path(package.__path__[0]) for package in (reference_mmu, fuzzer))
FILE = "x86/toy.py"
OLD = '''"""A module."""

from typing import Final

LIMIT: Final = 3


class Toy:
    """A class."""

    level: int = 1

    def __init__(self) -> None:
        self.seen = 0

    def look(self, *, far: bool = False) -> int:
        """Another doc."""
        self.seen += 1
        return self.seen

    def quiet(self) -> None:
        self.seen = 0


def walk(toy: Toy, *levels: int):
    for level in levels:
        yield level
    return toy.look()


def is_last_spte(gfn: int) -> int:
    return gfn
'''


def merged(before: str, after: str, file: str = FILE) -> str:
    """The module whose one place that reads `before` is changed."""
    assert OLD.count(before) == 1
    return merged_texts(OLD, OLD.replace(before, after), file)


def merged_texts(old: str, new: str, file: str = FILE) -> str:
    return merge(MODEL, FUZZER, {file: old}, {file: new})[file]


def loaded(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(text, FILE, "exec"), names)
    return names


@pytest.fixture(autouse=True)
def _without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(APPLIED, "now", False)


def test_a_changed_function_is_what_the_model_that_runs_has() -> None:
    names = loaded(merged("yield level", "yield level * 10"))
    walk, toy = names["walk"], names["Toy"]()
    assert list(walk(toy, 1, 2)) == [1, 2]
    APPLIED.now = True
    assert list(walk(toy, 1, 2)) == [10, 20]


def test_a_generator_stays_what_it_was_when_it_was_made() -> None:
    names = loaded(merged("yield level", "yield level * 10"))
    flow = names["walk"](names["Toy"](), 1, 2)
    assert next(flow) == 1
    APPLIED.now = True
    assert next(flow) == 2


def test_a_changed_method_is_asked_for_by_its_object() -> None:
    names = loaded(merged("self.seen += 1", "self.seen += 100 if far else 10"))
    toy = names["Toy"]()
    assert toy.look(far=True) == 1
    APPLIED.now = True
    assert (toy.look(far=True), toy.look()) == (101, 111)
    assert not [name for name in vars(names["Toy"]) if "change" in name], "another layout would compile all who use it"


def test_what_is_new_is_there_beside_what_is_gone() -> None:
    new = OLD.replace("LIMIT: Final = 3", "LIMIT: Final = 3\nMORE: Final = 4").replace(
        "yield level", "yield more(level)"
    )
    new = new.replace("    def quiet(", "    def louder(self) -> int:\n        return MORE\n\n    def quiet(")
    names = loaded(merged_texts(OLD, new + "\n\ndef more(level: int) -> int:\n    return level + MORE\n"))
    walk, toy = names["walk"], names["Toy"]()
    assert list(walk(toy, 1)) == [1]
    APPLIED.now = True
    assert list(walk(toy, 1)) == [5]
    gone = loaded(
        merged_texts(
            new + "\n\ndef more(level: int) -> int:\n    return level + MORE\n",
            new + "\n\ndef more(level: int) -> int:\n    return level - MORE\n",
        )
    )
    assert list(gone["walk"](gone["Toy"](), 1)) == [-3]


def test_an_import_that_new_has_no_longer_stays_for_old() -> None:
    old = OLD.replace("yield level", "yield floor(level)").replace("from typing", "from math import floor\nfrom typing")
    names = loaded(merged_texts(old, OLD))
    assert list(names["walk"](names["Toy"](), 1)) == [1]
    assert "floor" in names


def test_only_what_is_read_by_people_makes_no_difference() -> None:
    assert "APPLIED.now" not in merged('"""Another doc."""', '"""A doc."""\n        # why')


def test_a_file_that_new_alone_has_is_as_it_is() -> None:
    assert merge(MODEL, FUZZER, {}, {FILE: "X = 1\n"}) == {FILE: "X = 1\n"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("LIMIT: Final = 3", "LIMIT: Final = 4", "gives the name LIMIT another meaning|has another 'LIMIT"),
        ("level: int = 1", "level: int = 2", "gives class Toy another 'level: int = 2'"),
        ("    level: int = 1\n", "", "takes 'level: int = 1' from class Toy"),
        ("class Toy:", "class Toy(dict):", "has another head of class Toy"),
        ("self.seen = 0\n\n    def look", "self.seen = 1\n\n    def look", "changes Toy.__init__"),
        ("far: bool = False", "far: bool = True", r"changes what Toy.look\(\) is called with, or returns"),
        ("self.seen += 1", "super().__init__()", r"changes Toy.look\(\), which must be the class's own"),
        ("return gfn", "return gfn + 1", r"changes is_last_spte\(\), by which both sides are judged"),
        (
            "    def quiet",
            "    def can_run(self) -> bool:\n        return True\n\n    def quiet",
            "another 'def can_run",
        ),
        ("def walk", "@staticmethod\ndef walk", r"changes walk\(\), which has a decorator"),
        ("LIMIT: Final = 3", "for LIMIT in (3,): pass", "has another 'for LIMIT"),
        ("from typing import Final", "from typing import ClassVar as Final", "gives the name Final another meaning"),
    ],
)
def test_what_cannot_be_there_twice(before: str, after: str, reason: str) -> None:
    with pytest.raises(Unmergeable, match=f"^{FILE} .*({reason})"):
        merged(before, after)


@pytest.mark.parametrize("file", ["observed.py", "changelog/effects.py"])
def test_what_the_fuzzer_itself_uses_is_not_there_twice(file: str) -> None:
    with pytest.raises(Unmergeable, match="is what the fuzzer itself uses"):
        merged("yield level", "yield 0", file)


def test_every_module_of_the_model_is_the_same_merged_with_itself() -> None:
    files = {file.relative_to(MODEL).as_posix(): file.read_text(encoding="utf-8") for file in MODEL.rglob("*/*.py")}
    texts = {name: text for name, text in files.items() if not name.startswith("changelog/")}
    same = merge(MODEL, FUZZER, texts, texts)
    assert same.keys() == texts.keys()
    assert not [name for name, text in same.items() if "APPLIED.now" in text]
