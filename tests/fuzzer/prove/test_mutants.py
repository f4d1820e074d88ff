# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of the side with the patch: what they break is what runs only there, and a sample of them is noticed."""

import ast

import pytest

from fuzzer.change.edits import apply_edits, functions_of
from fuzzer.prove.after import asked_in_place, switch_of
from fuzzer.prove.breaks import breaks
from fuzzer.prove.mutants import Mutant, function_of, in_place, mutants_of, notice, parts_of, reason_of, survivors
from reference_mmu.changelog.semantics import NEW, OLD
from reference_mmu.x86.spte import SpteMasks
from tests.changes import shipped_source


def selected(patch: str) -> dict[str, list[str]]:
    """By function, the lines that run only with the patch."""
    return {
        part.function: [part.text.splitlines()[line - 1].strip() for line in sorted(part.lines)]
        for part in parts_of(patch)
    }


# What runs only with the patch.


def test_what_the_switch_selects_is_broken_and_nothing_else() -> None:
    assert selected("fold-make-spte-writable") == {
        "make_spte_writable": [
            "if not was_writable and mmu_try_to_unsync_pages(m, gfn, synchronizing, prefetch):",
            "return spte, True",
            "return spte | writable | dirty, False",
        ]
    }


def test_of_a_patch_that_only_takes_away_the_whole_function_is_broken() -> None:
    lines = selected("drop-clear-dirty-slot-ret")["kvm_tdp_mmu_clear_dirty_slot"]
    assert lines[0] == "spte_set = False"
    assert lines[-1] == "return spte_set"


def test_a_function_that_only_the_patch_calls_is_broken_whole() -> None:
    functions = selected("release-faultin-page-common")
    assert functions["kvm_mmu_finish_page_fault"] == [
        "kvm_release_faultin_page(m, fault.refcounted_page, not used, dirty)"
    ]
    assert len(functions["kvm_release_faultin_page"]) > 5


def test_a_variable_that_keeps_the_switch_is_seen_through() -> None:
    text = "def f(m):\n    on = m.sem.patch\n    if on:\n        return 1\n    return 2\n"
    assert asked_in_place(text, "patch") == text.replace("on = m.sem.patch", "pass").replace("if on", "if m.sem.patch")
    assert any("kvm_faultin_pfn" in line for line in selected("x86-convert-to-faultin-pfn")["__kvm_mmu_faultin_pfn"])


def test_code_that_no_side_of_the_proof_runs_is_not_broken() -> None:
    # A later commit's, and what half an equivalence does without the other half.
    assert not any(
        "nvmx_apic_access_page_dirty" in line for line in selected("nvmx-vmcs12-maps")["nested_put_vmcs12_pages"]
    )
    assert "__kvm_mmu_faultin_pfn" not in selected("gup-no-wait-error-code")


def test_the_switch_is_told_in_terms_of_parameters() -> None:
    text = "def f(m):\n    sem = m.masks.sem\n    return 1 if sem.patch else 2\n"
    assert switch_of(dict(functions_of(ast.parse(text)))["f"], "patch") == "m.masks.sem.patch"


# How it is broken.


def broken(text: str) -> list[str]:
    """Every break of the one function, as its last line reads then."""
    (function,) = (function for _, function in functions_of(ast.parse(text)))
    lines = frozenset(range(2, text.count("\n") + 1))
    return [apply_edits(text, change.edits).splitlines()[-1].strip() for change in breaks(function, lines)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("return", ["pass"]),
        ("a = f(b)", ["a = 0", "pass", "a = f(0)"]),
        ("yield 3", ["yield from ()", "yield 4"]),
        ("return a | 1", ["return a", "return 1", "return (a & 1)", "return a | 2"]),
        ("return not a", ["return a"]),
        ("return a < b", ["return (a <= b)"]),
        ("return a and b", ["return (a or b)", "return (b)", "return (a)"]),
        ("return a if b else c", ["return a", "return c", "return 0 if b else c", "return a if b else 0"]),
        ("x = yield from f()", ["x = 0 * bool((yield from f()))", "yield from ()"]),
        ("assert a is not None", []),
        ("'a text'", []),
    ],
)
def test_a_line_is_broken_in_every_way(line: str, expected: list[str]) -> None:
    assert broken(f"def f(a, b, c):\n    {line}\n") == expected


def test_conditions_are_always_and_never_true() -> None:
    text = "def f(a):\n    if a: return 1\n"
    assert {"if True: return 1", "if False: return 1"} <= set(broken(text))


# That it is noticed.


def test_ids_are_unique_and_places_are_in_the_shipped_source() -> None:
    for patch in ("fold-make-spte-writable", "release-faultin-page-common"):
        mutants = mutants_of(patch)
        assert len({mutant.id for mutant in mutants}) == len(mutants)
        for mutant in mutants:
            file = mutant.id.partition(":")[0]
            assert 0 < mutant.line <= shipped_source(file).count("\n")


def test_a_mutant_breaks_the_side_with_the_patch_alone() -> None:
    (part,) = parts_of("dedicated-ad-enabled-flag")
    with_patch, without = SpteMasks("ept-ad", NEW), SpteMasks("ept-ad", OLD)
    (broken,) = ast.parse("def kvm_ad_enabled(self):\n    return 0").body
    assert isinstance(broken, ast.FunctionDef)
    with in_place(part, broken):
        assert (with_patch.kvm_ad_enabled(), without.kvm_ad_enabled()) == (0, True)
    assert (with_patch.kvm_ad_enabled(), without.kvm_ad_enabled()) == (True, True)


def test_a_mutant_is_noticed_by_an_input() -> None:
    (mutant,) = mutants_of("dedicated-ad-enabled-flag")
    began: list[None] = []
    noticed = notice(mutant, lambda: began.append(None))
    assert noticed.how == "input"
    assert noticed.what.startswith("A/D type ept-ad: True in ")
    assert began


def test_a_mutant_that_raises_or_does_not_end_is_noticed() -> None:
    class Endless(Exception):
        pass

    def give_up() -> None:
        raise Endless

    (mutant,) = mutants_of("dedicated-ad-enabled-flag")
    assert notice(mutant, give_up).how == "error"


def test_a_compiled_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    part = parts_of("dedicated-ad-enabled-flag")[0]
    monkeypatch.setattr(SpteMasks, "kvm_ad_enabled", len)
    with pytest.raises(RuntimeError, match="MMUFUZZ_CORE=interpreted"):
        function_of(part)


@pytest.mark.slow
def test_every_reason_is_of_a_mutant_that_there_is() -> None:
    for entry in survivors():
        assert len(entry.reason) > 20
        for patch, names in entry.mutants.items():
            known = {mutant.id for mutant in mutants_of(patch)}
            known |= {":".join([*name.split(":")[:2], "*"]) for name in known}
            assert set(names) <= known


def test_a_reason_is_that_of_a_mutant_or_of_its_whole_function() -> None:
    name = (
        "kvm/release.py:kvm_release_faultin_page:without `kvm.lockdep_assert(unused or kvm.mmu_lock.held[kvm.actor]...`"
    )
    assert "lockdep" in reason_of(Mutant("release-faultin-page-common", name, 1, ""))
    assert "gfn_to_pfn" in reason_of(Mutant("drop-gfn-to-pfn", "kvm/faultin.py:follow_without_page:`a:b` is 0", 1, ""))
    assert reason_of(Mutant("drop-gfn-to-pfn", name, 1, "")) == ""
