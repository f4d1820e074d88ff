# SPDX-License-Identifier: GPL-2.0-only
"""Folding a flag out of source text: golden snippets, behaviour kept on random code, and the model itself."""

import itertools
import re
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference_mmu
from fuzzer.change.fold import FoldError, flag_name, fold, patch_diff, patch_sites
from reference_mmu.changelog.patches import PATCHES, PLACEBOS, Patch, UnknownPatch

# Each case: the source, what is left with the flag off, what is left with it on.
GOLDEN = {
    "if": (
        """\
        a()
        if sem.flag:
            b()  # stays
            # so does this
        c()
        """,
        """\
        a()
        c()
        """,
        """\
        a()
        b()  # stays
        # so does this
        c()
        """,
    ),
    "else only": (
        """\
        def f():
            if m.sem.flag:
                x = 1  # new
            else:  # goes with the else
                # old way
                x = 2
            return x
        """,
        """\
        def f():
            # old way
            x = 2
            return x
        """,
        """\
        def f():
            x = 1  # new
            return x
        """,
    ),
    "elif in the middle": (
        """\
        if a:
            x()
        # why the flag
        elif sem.flag:  # here
            y()
        # why b
        elif b:
            z()
        else:
            w()
        """,
        """\
        if a:
            x()
        # why the flag
        # why b
        elif b:
            z()
        else:
            w()
        """,
        """\
        if a:
            x()
        # why the flag
        else:  # here
            y()
        """,
    ),
    "head of a chain": (
        """\
        if sem.flag:
            x()
        elif b:  # kept
            y()
        else:
            z()
        """,
        """\
        if b:  # kept
            y()
        else:
            z()
        """,
        """\
        x()
        """,
    ),
    "last elif": (
        """\
        if a:
            x()
        elif b and sem.flag:
            y()
        """,
        """\
        if a:
            x()
        """,
        """\
        if a:
            x()
        elif b:
            y()
        """,
    ),
    "nested": (
        """\
        if a:
            if sem.flag:
                if b:
                    x()

                y()
        else:
            if not sem.flag:
                z()
        """,
        """\
        if a:
            pass
        else:
            z()
        """,
        """\
        if a:
            if b:
                x()

            y()
        else:
            pass
        """,
    ),
    "early return": (
        """\
        def f():
            if a:
                if sem.flag:
                    return 1
                # the old answer
                return 2

            return 3


        def g():
            pass
        """,
        """\
        def f():
            if a:
                # the old answer
                return 2

            return 3


        def g():
            pass
        """,
        """\
        def f():
            if a:
                return 1

            return 3


        def g():
            pass
        """,
    ),
    "every way out": (
        """\
        for i in x:
            if a:
                continue
            elif sem.flag:
                break
            b()
            # end of the loop
        """,
        """\
        for i in x:
            if a:
                continue
            b()
            # end of the loop
        """,
        """\
        for i in x:
            if a:
                continue
            else:
                break
        """,
    ),
    "ternary": (
        """\
        x = (a or b) if sem.flag else c
        y = f(a if not m.sem.flag else b) + (1 if sem.flag else 2)
        z = (
            aaaa
            if sem.flag
            else bbbb
        )
        """,
        """\
        x = c
        y = f(a) + 2
        z = bbbb
        """,
        """\
        x = a or b
        y = f(b) + 1
        z = aaaa
        """,
    ),
    "and, or, not": (
        """\
        p = a and sem.flag and b
        q = a or not sem.flag
        r = (a and sem.flag) or b
        s = not (sem.flag or a)
        t = sem.flag and (a or b) and c
        """,
        """\
        p = False
        q = True
        r = b
        s = not a
        t = False
        """,
        """\
        p = a and b
        q = a
        r = a or b
        s = False
        t = (a or b) and c
        """,
    ),
    "condition over several lines": (
        """\
        if (
            a  # first
            and sem.flag  # the patch
            and (b or c)  # last
        ):
            x()
        if (
            a
            or (b and c)
            or not sem.flag
        ):
            y()
        """,
        """\
        y()
        """,
        """\
        if (
            a  # first
            and (b or c)  # last
        ):
            x()
        if (
            a
            or (b and c)
        ):
            y()
        """,
    ),
    "argument, assignment, comparison": (
        """\
        f(a, sem.flag, key=(not sem.flag))
        on = masks.sem.flag
        same = sem.flag == on
        """,
        """\
        f(a, False, key=True)
        on = False
        same = False == on
        """,
        """\
        f(a, True, key=False)
        on = True
        same = True == on
        """,
    ),
    "text in several lines does not move": (
        '''\
        if sem.flag:
            x = """one
            two
        three"""
            y(
                1,
            )
        ''',
        """\
        pass
        """,
        '''\
        x = """one
            two
        three"""
        y(
            1,
        )
        ''',
    ),
    "other letters before the flag": (
        """\
        x = "Grüße, 世界" if sem.flag else "ключ"
        """,
        """\
        x = "ключ"
        """,
        """\
        x = "Grüße, 世界"
        """,
    ),
    "one-liners and missing spaces": (
        """\
        if sem.flag: a(); b()  # both
        else: c()
        if(sem.flag)and(d): e()
        x = y if(sem.flag)else z
        """,
        """\
        c()
        x = z
        """,
        """\
        a(); b()  # both
        if d: e()
        x = y
        """,
    ),
    "blank lines around what goes": (
        """\
        a()

        if sem.flag:
            b()

        c()
        """,
        """\
        a()

        c()
        """,
        """\
        a()

        b()

        c()
        """,
    ),
    "what acts is not dropped": (
        """\
        if (x := f()) and sem.flag:
            a()
        """,
        """\
        if (x := f()) and False:
            a()
        """,
        """\
        if (x := f()):
            a()
        """,
    ),
    "decorated function, else that begins like elif": (
        """\
        if sem.flag:
            @decorated
            def f():
                pass
        else:
            elif_(1)
        """,
        """\
        elif_(1)
        """,
        """\
        @decorated
        def f():
            pass
        """,
    ),
    "not the flag": (
        """\
        self.flag: Final = "flag" in patches
        if sem.flag_too or flag:  # sem.flag
            x("sem.flag")
        """,
        """\
        self.flag: Final = "flag" in patches
        if sem.flag_too or flag:  # sem.flag
            x("sem.flag")
        """,
        """\
        self.flag: Final = "flag" in patches
        if sem.flag_too or flag:  # sem.flag
            x("sem.flag")
        """,
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_snippet_folds_to_what_a_person_would_write(name: str) -> None:
    source, off, on = map(dedent, GOLDEN[name])
    assert fold(source, "flag", False) == off
    assert fold(source, "flag", True) == on


def test_only_the_named_flag_is_folded() -> None:
    source = "x = sem.flag and sem.other\n"
    assert fold(source, "flag", True) == "x = sem.other\n"
    assert fold(source, "other", True) == "x = sem.flag\n"


def test_a_source_without_the_flag_comes_back_untouched() -> None:
    source = "if  ( a ):   b( )\t# odd\n\n\n\nc = '\\\n'"
    assert fold(source, "flag", True) == source


def test_a_flag_in_an_f_string_is_refused() -> None:
    with pytest.raises(FoldError, match="line 2: 'flag' stands in an f-string"):
        fold("x = 1\ny = f'{sem.flag}'\n", "flag", True)


def test_a_source_that_does_not_parse_is_refused() -> None:
    with pytest.raises(SyntaxError):
        fold("if sem.flag\n", "flag", True)


# Folded code must do what the flag's value would have made it do.

CONDITIONS = st.recursive(
    st.sampled_from(["sem.flag", "sem.flag", "a", "b"]),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        inner.map("({})".format),
        inner.map("(\n    {}  # why\n)".format),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({' and '.join(parts)})"),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: "({})".format("\n    or ".join(parts))),
        st.tuples(inner, inner, inner).map(lambda parts: "({} if {} else {})".format(*parts)),
    ),
    max_leaves=6,
)


def indented(block: list[str]) -> list[str]:
    return [f"    {line}" for line in "\n".join(block).split("\n")]


def chain(parts: list[tuple[str, list[str]]], rest: list[str] | None) -> list[str]:
    """The lines of an if statement with `parts` as branches and `rest` as its else."""
    lines: list[str] = []
    for condition, block in parts:
        keyword = "elif" if lines else "if"
        lines += [f"{keyword} {condition}:  # {keyword}", *indented(block), f"    # end of {keyword}"]
    return lines + (["# otherwise", "else:", *indented(rest)] if rest else [])


def joined(parts: list[list[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(parts))


SIMPLE = st.one_of(
    st.integers(0, 9).map(lambda number: [f"log.append({number})  # {number}"]),
    CONDITIONS.map(lambda condition: [f"log.append({condition})"]),
    st.sampled_from([["return"], ["break"], ["continue"], ["# a remark", "pass", ""]]),
)
BLOCKS = st.recursive(
    st.lists(SIMPLE, min_size=1, max_size=3).map(joined),
    lambda inner: st.lists(
        st.one_of(
            SIMPLE,
            st.builds(chain, st.lists(st.tuples(CONDITIONS, inner), min_size=1, max_size=3), st.none() | inner),
        ),
        min_size=1,
        max_size=4,
    ).map(joined),
    max_leaves=12,
)


def log_of(source: str, flag: bool, a: bool, b: bool) -> list[object]:
    names: dict[str, object] = {"sem": SimpleNamespace(flag=flag), "a": a, "b": b}
    log: list[object] = []
    names["log"] = log
    exec(f"{source}f()\n", names)
    return log


@given(BLOCKS)
def test_folded_code_does_what_the_flag_would_have_made_it_do(block: list[str]) -> None:
    loop = ["for turn in (0, 1):", "    log.append(turn)", *indented(block), "log.append('end')"]
    source = "\n".join(["def f():", *indented(loop), ""])
    for flag in (False, True):
        folded = fold(source, "flag", flag)
        assert "sem.flag" not in folded
        assert fold(folded, "flag", flag) == folded
        for a, b in itertools.product((False, True), repeat=2):
            assert log_of(folded, flag, a, b) == log_of(source, flag, a, b), folded


# The model.

HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(?: (.*))?")


def apply_diff(diff: str, sources: dict[str, str]) -> dict[str, str]:
    """What a strict `patch` would make of the sources: context must match at the very line the hunk names."""
    result = {name: source.splitlines(keepends=True) for name, source in sources.items()}
    name, position, shift = "", 0, 0
    for line in diff.splitlines(keepends=True):
        if line.startswith("--- a/"):
            name, shift = line[6:].strip(), 0
        elif line.startswith("+++ b/"):
            assert line[6:].strip() == name
        elif line.startswith("@@"):
            hunk = HUNK.fullmatch(line.rstrip("\n"))
            assert hunk is not None
            position = int(hunk[1]) - (hunk[2] != "0") + shift
            assert position == int(hunk[3]) - (hunk[4] != "0")
        elif line[0] in " -":
            assert result[name][position] == line[1:]
            if line[0] == "-":
                del result[name][position]
                shift -= 1
            else:
                position += 1
        else:
            result[name].insert(position, line[1:])
            position += 1
            shift += 1
    return {name: "".join(lines) for name, lines in result.items()}


@cache
def model_sources() -> dict[str, str]:
    root = Path(reference_mmu.__path__[0]).parent
    paths = (root / "reference_mmu").rglob("*.py")
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


diff_of = cache(patch_diff)


@pytest.mark.parametrize("patch_id", [*PATCHES, *PLACEBOS])
def test_a_patch_diff_turns_the_model_without_it_into_the_model_with_it(patch_id: str) -> None:
    flag = flag_name(patch_id)
    off = {name: fold(source, flag, False) for name, source in model_sources().items()}
    on = {name: fold(source, flag, True) for name, source in model_sources().items()}
    assert apply_diff(diff_of(patch_id), off) == on


@pytest.mark.parametrize("patch_id", [*PATCHES, *PLACEBOS])
def test_the_sites_of_a_patch_name_its_flag(patch_id: str) -> None:
    sources = model_sources()
    sites = patch_sites(patch_id)
    assert sites == sorted(sites)
    for site in sites:
        assert f".{flag_name(patch_id)}" in sources[site.file].split("\n")[site.line - 1]
        assert site.function == "<module>" or f" {site.function.rsplit('.')[-1]}(" in sources[site.file]
    assert bool(sites) == bool(diff_of(patch_id))


@pytest.mark.parametrize("patch", PATCHES.values(), ids=lambda patch: patch.id)
def test_the_model_reads_the_switch_of_what_is_modelled_and_of_nothing_else(patch: Patch) -> None:
    """Who reads a switch for the first time says in the catalogue that it is modelled."""
    assert bool(patch_sites(patch.id)) == (patch.modelled and patch.kind != "series")


def test_the_flag_itself_is_no_site() -> None:
    sites = [site for name in PATCHES for site in patch_sites(name)]
    assert [site for site in sites if site.file.endswith("changelog/semantics.py")] == []


@pytest.mark.parametrize("patch_id", [*PATCHES, *PLACEBOS])
def test_a_hunk_names_the_function_of_a_site(patch_id: str) -> None:
    functions = {site.function.split(".")[-1] for site in patch_sites(patch_id)}
    for hunk in HUNK.finditer(diff_of(patch_id)):
        assert hunk[5].removeprefix("def ").partition("(")[0] in functions


def test_an_unknown_patch_has_neither_diff_nor_sites() -> None:
    with pytest.raises(UnknownPatch, match="did you mean ept-dirty-mask-always"):
        patch_diff("ept-dirty-mask")
    with pytest.raises(UnknownPatch, match="did you mean ept-dirty-mask-always"):
        patch_sites("ept-dirty-mask")
