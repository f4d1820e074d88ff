# SPDX-License-Identifier: GPL-2.0-only
"""C files on their own: each with what it uses of the headers, and with its own literals."""

from fuzzer.core.units import independent_units

TYPES = """#ifndef MYPYC_NATIVE_core_H
#define MYPYC_NATIVE_core_H
#include <Python.h>
#ifndef MYPYC_DECLARED_tuple_T2II
#define MYPYC_DECLARED_tuple_T2II
typedef struct tuple_T2II {
    CPyTagged f0;
} tuple_T2II;
#endif

typedef struct {
    PyObject_HEAD
    tuple_T2II _pair;
} walk___WalkObject;

typedef struct {
    PyObject_HEAD
} zap___ZapObject;

#endif
"""
DECLARED = """#include "types.h"
int CPyGlobalsInit(void);
extern PyObject *CPyStatics[9];
extern CPyVTableItem walk___Walk_vtable[2];
extern char CPyDef_walk___Walk___step(PyObject *cpy_r_self, tuple_T2II cpy_r_pair);
extern PyObject *(*CPyPointer)(void);
extern CPyThreadLocal zap___ZapObject *zap___Zap_free_instance;
"""
HEADERS = {"types.h": TYPES, "declared.h": DECLARED}
INCLUDES = '#include "types.h"\n#include "declared.h"\n'
STEP = "char step(PyObject *self) { return CPyDef_walk___Walk___step(self, pair); }\n"
NAMES = "PyObject *a = CPyStatics[7], *b = CPyStatics[4], *again = CPyStatics[7];\n"


def units(text: str, headers: dict[str, str] = HEADERS) -> dict[str, str]:
    return independent_units(headers, f"{INCLUDES}MAIN\n", {"walk": INCLUDES + text})


def test_a_unit_has_what_it_uses_and_what_that_uses() -> None:
    text = units(STEP)["walk"]
    assert "extern char CPyDef_walk___Walk___step(" in text
    assert "} tuple_T2II;" in text, "which only a parameter names"
    assert "WalkObject" not in text
    assert "vtable" not in text
    assert "free_instance" not in text
    assert text.endswith(STEP)


def test_what_runs_once_or_for_the_interpreter_is_cold() -> None:
    seldom = "char CPyDef_walk_____top_level__(void) {\n}\n        PyObject *CPyPy_walk___go(PyObject *self) {\n}\n"
    often = "char CPyDef_walk___go(PyObject *self) {\n}\n"
    text = units(seldom + often)["walk"]
    assert "__attribute__((cold)) char CPyDef_walk_____top_level__(void) {" in text
    assert "__attribute__((cold))         PyObject *CPyPy_walk___go(" in text
    assert text.endswith(f"}}\n{often}"), "a flow is as it was"


def test_a_struct_brings_the_structs_in_it() -> None:
    text = units("walk___WalkObject *self;\n")["walk"]
    assert text.index("} tuple_T2II;") < text.index("} walk___WalkObject;") < text.index("*self;")


def test_arrays_and_variables_of_a_thread_are_known_by_their_names() -> None:
    assert "walk___Walk_vtable[2];" in units("x = walk___Walk_vtable;\n")["walk"]
    text = units("x = zap___Zap_free_instance;\n")["walk"]
    assert text.index("} zap___ZapObject;") < text.index("*zap___Zap_free_instance;")


def test_what_is_no_known_declaration_is_for_all() -> None:
    text = units("nothing\n")["walk"]
    assert "#include <Python.h>" in text
    assert "int CPyGlobalsInit(void);" in text
    assert "CPyPointer" in text, "a declaration in a form that is not known"


def test_no_unit_includes_a_header_of_the_program() -> None:
    for text in units(STEP).values():
        assert "types.h" not in text
        assert "declared.h" not in text


def test_a_change_of_what_a_unit_does_not_use_leaves_it_alone() -> None:
    changed = {name: text.replace("ZapObject", "ZipObject").replace("[9]", "[10]") for name, text in HEADERS.items()}
    before, after = units(STEP + NAMES), units(STEP + NAMES, changed)
    assert before["walk"] == after["walk"]
    assert before["main"] != after["main"]


def test_literals_have_numbers_of_the_unit_alone() -> None:
    here, there = units(NAMES), units(NAMES.replace("7", "8").replace("4", "5"))
    assert "a = CPyLiterals_walk[0], *b = CPyLiterals_walk[1], *again = CPyLiterals_walk[0];" in here["walk"]
    assert "extern PyObject *CPyLiterals_walk[2];" in here["walk"]
    assert here["walk"] == there["walk"]


def test_main_hands_out_the_literals_when_they_are_made() -> None:
    main = units(NAMES)["main"]
    assert "PyObject *CPyLiterals_walk[2];" in main
    assert "static const int walk[] = {7, 4};" in main
    assert main.index("#define CPyStatics_Initialize(...) ") < main.index("MAIN\n")
    assert "walk[]" not in units(STEP)["main"], "no literals, no list of them"


def test_one_more_declaration_leaves_a_unit_alone_that_does_not_use_it() -> None:
    more = {**HEADERS, "declared.h": DECLARED + "\nextern char CPyDef_walk___new(PyObject *cpy_r_self);\n"}
    assert units(STEP)["walk"] == units(STEP, more)["walk"]


def test_labels_and_temporary_variables_have_numbers_of_the_unit_alone() -> None:
    here, there = (
        units(f"__tmp{n} = NULL; goto __LL{n + 1}; __LL{n + 1}: __tmp{n + 2} = x; __tmp{n} = y;\n") for n in (7, 12)
    )
    assert here["walk"] == there["walk"]
    assert here["walk"].endswith("__tmp0 = NULL; goto __LL1; __LL1: __tmp2 = x; __tmp0 = y;\n")
