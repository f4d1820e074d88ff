# SPDX-License-Identifier: GPL-2.0-only
"""The C of each module made independent of what it does not use.

mypyc writes one C file per module, and two headers that declare everything of all modules. A line changed in one
function changes those headers, and with the numbers of literals, labels and temporary variables, which are counted
through all modules, the other C files too. Here each C file gets the declarations that it uses, and numbers of its own:
its text changes only if what it is compiled to may change.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

# Everything that a header of mypyc declares. What matches nothing, includes above all, is for every file.
_DECLARATION = re.compile(
    r"""^\#ifndef\ MYPYC_DECLARED_(?P<tuple>\w+)\n.*?^\#endif\n
      | ^typedef\ struct\ [^{;]*\{.*?^\}\ (?P<struct>\w+);\n
      | ^extern\ [^;({]*?(?P<extern>\w+)(?:\[\w*\])*(?:\([^;]*\))?;\n""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
# A function that is defined in so few lines that calling it takes longer than what it does.
_SMALL_FUNCTION = re.compile(
    r"^(?P<head>[A-Za-z_][\w *]*?\b(?P<name>CPyDef_\w+)\([^;{)]*\)) \{\n(?P<body>(?:(?!\}).*\n){1,60})\}\n",
    re.MULTILINE,
)
# What ties a function to the module that defines it: calls, literals, types and globals.
_TIED = re.compile(r"CPyDef_|CPyStatic|CPyLiterals|CPyType_|CPy_AddTraceback")
_WORD = re.compile(r"\w+")
_LITERAL = re.compile(r"\bCPyStatics\[(\d+)\]")
# Labels and temporary variables.
_TEMPORARY = re.compile(r"\b__(tmp|LL)(\d+)\b")

# What is called where something went wrong, and how references are let go of there: the compiler keeps what leads to it
# away from the rest of a function, so that more of what runs fits the cache of instructions.
_COLD = """#include <Python.h>
__attribute__((cold)) static void CPy_DecRef(PyObject *);
__attribute__((cold)) static void CPy_XDecRef(void *);
#include <CPy.h>
__attribute__((cold)) void CPy_AddTraceback(const char *, const char *, int, PyObject *);
__attribute__((cold)) void CPy_TypeError(const char *, PyObject *);
__attribute__((cold)) void CPy_TypeErrorTraceback(const char *, const char *, int, PyObject *, const char *,
                                                   PyObject *);
__attribute__((cold)) void CPy_AttributeError(const char *, const char *, const char *, const char *, int, PyObject *);
__attribute__((cold)) void CPyError_OutOfMemory(void);
__attribute__((cold)) void CPyTagged_IncRef(CPyTagged);
__attribute__((cold)) void CPyTagged_DecRef(CPyTagged);
__attribute__((cold)) void CPyTagged_XDecRef(CPyTagged);
"""
# What runs once, when a module is loaded, or for callers that are not compiled: small rather than fast.
_SELDOM = re.compile(
    r"^(?= *PyObject \*CPyPy_\w+\([^;{)]*\) \{$|char CPyDef_\w+____top_level__\(void\) \{$"
    r"|static (?:int|PyObject \*)\n\w+_[gs]et_\w+\()",
    re.MULTILINE,
)


class Declaration(NamedTuple):
    """One struct, function or variable of a header. Without a name it is for every file."""

    name: str
    text: str


def independent_units(headers: Mapping[str, str], main: str, modules: Mapping[str, str]) -> dict[str, str]:
    """The same program as C files that include no header of it. `headers` are in the order of inclusion; `main`, which
    becomes the unit "main", makes the literals, and `modules` are the others by name."""
    header = "".join(_without_headers(text, headers) for text in headers.values())
    declarations = _declarations(header)
    modules = {name: _SELDOM.sub("__attribute__((cold)) ", _own_temporaries(text)) for name, text in modules.items()}
    inline = {name: text for module in modules.values() for name, text in _small_functions(module)}
    units, literals = {}, {}
    for name, text in modules.items():
        body, literals[name] = _own_literals(name, _without_headers(text, headers))
        units[name] = _COLD + _declared(declarations, inline, body) + body
    units["main"] = _with_literals(header, _without_headers(main, headers), literals)
    return units


def _declarations(header: str) -> list[Declaration]:
    found, end = [], 0
    for match in _DECLARATION.finditer(header):
        found.append(Declaration("", header[end : match.start()]))
        found.append(Declaration(match["tuple"] or match["struct"] or match["extern"], match[0]))
        end = match.end()
    # Without the empty lines between declarations, or one more declaration would be a line more in every file.
    return [each for each in (*found, Declaration("", header[end:])) if each.text.strip()]


def _without_headers(text: str, headers: Iterable[str]) -> str:
    for header in headers:
        text = text.replace(f'#include "{header}"\n', "")
    return text


def _own_temporaries(text: str) -> str:
    """The text with labels and temporary variables of its own numbers; mypyc counts those of all modules through."""
    numbers: dict[str, int] = {}
    return _TEMPORARY.sub(lambda match: f"__{match[1]}{numbers.setdefault(match[2], len(numbers))}", text)


def _own_literals(name: str, text: str) -> tuple[str, list[int]]:
    """The text with an array of its own for its literals, and which of all literals they are."""
    numbers: dict[int, int] = {}

    def renumbered(literal: re.Match[str]) -> str:
        return f"CPyLiterals_{name}[{numbers.setdefault(int(literal[1]), len(numbers))}]"

    body = _LITERAL.sub(renumbered, text)
    return f"extern PyObject *CPyLiterals_{name}[{max(len(numbers), 1)}];\n{body}", list(numbers)


def _small_functions(text: str) -> Iterator[tuple[str, str]]:
    """The small functions of a module that any other may have a copy of, so that the compiler can inline them."""
    for match in _SMALL_FUNCTION.finditer(text):
        if not _TIED.search(match["body"]):
            yield match["name"], f"static inline {match[0]}"


def _declared(declarations: Iterable[Declaration], inline: Mapping[str, str], body: str) -> str:
    """The declarations that a text uses, and what those use in turn; small functions of other modules as copies."""
    own = {match["name"] for match in _SMALL_FUNCTION.finditer(body)}
    copies = {name: text for name, text in inline.items() if name not in own}
    texts = {declaration.name: declaration.text for declaration in declarations}
    texts |= {name: text for name, text in copies.items() if name in texts}
    used, new = {""}, {*_WORD.findall(body)} & texts.keys()
    while new:
        used |= new
        new = {word for name in new for word in _WORD.findall(texts[name])} & texts.keys() - used
    declared = [each.text for each in declarations if each.name in used and each.name not in copies]
    return "".join([*declared, *(texts[name] for name in sorted(used & copies.keys() & texts.keys()))])


def _with_literals(headers: str, main: str, literals: Mapping[str, list[int]]) -> str:
    """`main`, which makes all literals, and hands each unit those that it asked for as soon as they are made."""
    arrays = "".join(f"PyObject *CPyLiterals_{name}[{max(len(wanted), 1)}];\n" for name, wanted in literals.items())
    lists = "".join(
        f"    static const int {name}[] = {{{', '.join(map(str, wanted))}}};\n"
        f"    for (size_t i = 0; i < {len(wanted)}; i++) CPyLiterals_{name}[i] = CPyStatics[{name}[i]];\n"
        for name, wanted in literals.items()
        if wanted
    )
    return (
        f"{headers}{arrays}static int share_literals(int failed) {{\n{lists}    return failed;\n}}\n"
        f"#define CPyStatics_Initialize(...) share_literals(CPyStatics_Initialize(__VA_ARGS__))\n{main}"
    )
