# SPDX-License-Identifier: GPL-2.0-only
"""Files import each other in one direction: no circle, not even for types; and rooms do so in reading order.

What import-linter is told in pyproject.toml are the packages; this looks at files and rooms.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from reference_mmu.architectures import ARCHITECTURES

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("reference_mmu", "fuzzer", "db", "workers", "dashboard", "cli")

# Below in the list may import from above, and not the other way round. What stands in no room is free.
ROOMS = {
    "reference_mmu": (
        "changelog",
        "mm",
        "kvm",
        "stage2",
        "arm64",
        "powerpc",
        "riscv",
        "loongarch",
        "mips",
        "s390",
        "x86",
    ),
    "fuzzer": ("program", "schedule", "oracle", "run", "judge", "change", "minimize", "tell"),
}

Graph = dict[str, set[str]]


def modules(package: str) -> dict[str, Path]:
    files = sorted((ROOT / package).rglob("*.py"))
    named = {".".join(file.relative_to(ROOT).with_suffix("").parts): file for file in files}
    return {name.removesuffix(".__init__"): file for name, file in named.items()}


def imports_of(name: str, tree: ast.AST, known: dict[str, Path]) -> Iterator[str]:
    """The known modules that a module names in an import statement, wherever that stands."""
    package = name if known[name].name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if alias.name in known)
            case ast.ImportFrom(module=module, names=names, level=level):
                parts = package.split(".")[: len(package.split(".")) - level + 1] if level else []
                base = ".".join([*parts, *([module] if module else [])])
                for alias in names:
                    inner = f"{base}.{alias.name}"
                    if inner in known or base in known:
                        yield inner if inner in known else base


def graph_of(package: str) -> Graph:
    known = modules(package)
    return {
        name: set(imports_of(name, ast.parse(file.read_text(encoding="utf-8")), known)) - {name}
        for name, file in known.items()
    }


def circle(graph: Graph) -> list[str]:
    """A circle, from a file back to itself; [] if there is none."""
    done: set[str] = set()

    def below(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph[name]):
            found = below(other, [*way, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := below(name, []))), [])


def room_of(name: str, rooms: tuple[str, ...]) -> int:
    """Its place in the reading order, -1 for a file that is in no room of it."""
    parts = name.split(".")
    return rooms.index(parts[1]) if len(parts) > 2 and parts[1] in rooms else -1


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle_of_files(package: str) -> None:
    assert " -> ".join(circle(graph_of(package))) == ""


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_import_in_reading_order(package: str) -> None:
    rooms = ROOMS[package]
    upwards = [
        f"{name} imports {other}"
        for name, others in graph_of(package).items()
        for other in others
        if -1 < room_of(name, rooms) < room_of(other, rooms)
    ]
    assert upwards == []


def test_nothing_common_knows_an_architecture_nor_one_another() -> None:
    """Nor mm/ of KVM: it knows the notifier, which Mm declares. x86 shares kvm/ with the others, and not stage2/."""
    graph = graph_of("reference_mmu")
    forbidden = {(room, arch) for room in ("mm", "kvm", "stage2", *ARCHITECTURES) for arch in ARCHITECTURES}
    forbidden |= {("mm", "kvm"), ("kvm", "stage2"), ("x86", "stage2")}
    for room, other in sorted(forbidden):
        if room != other:
            beyond = {n: [o for o in others if o.startswith(f"reference_mmu.{other}.")] for n, others in graph.items()}
            known = {name: others for name, others in beyond.items() if f".{room}." in name and others}
            assert known == {}, f"{room} knows {other}"


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
