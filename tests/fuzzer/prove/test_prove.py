# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences are proven, and a proof fails when the patch, its base or the model is not what it should be."""

import ast
from collections.abc import Callable, Collection, Generator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cli.commands.prove import NOT_ALONE
from fuzzer.judge.finding import Finding
from fuzzer.prove import equivalences
from fuzzer.prove import make_spte as make_spte_sweeps
from fuzzer.prove.equivalences import HALVES, PROGRAMS, calls_in, lockstep
from fuzzer.prove.prove import SWEEPS, NoEquivalence, bases_of, prove
from fuzzer.prove.sweep import SemanticsPair
from fuzzer.reproducer import decode_reproducer
from reference_mmu.changelog.patches import PATCHES, UnknownPatch, changes_nothing, closure
from reference_mmu.changelog.semantics import NEW, Semantics, base_of
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.x86.make_spte import make_spte
from reference_mmu.x86.shadow_mmu.unsync import mmu_try_to_unsync_pages
from tests.cli.shell import mmufuzz, report_in

INTERPRETED_SECONDS = 900
EQUIVALENCES = [patch.id for patch in PATCHES.values() if changes_nothing(patch) and patch.modelled]


def flag(patch: str) -> str:
    return patch.replace("-", "_")


def with_only(on: Iterable[str], off: Collection[str] = ()) -> Semantics:
    """A kernel that never existed: `on` and what that requires, but without `off`."""
    patches = closure(on) - frozenset(off)
    with pytest.MonkeyPatch.context() as context:
        for patch in PATCHES.values():
            requires = tuple(required for required in patch.requires if required not in off)
            context.setitem(PATCHES, patch.id, msgspec.structs.replace(patch, requires=requires))
        return Semantics(patches)


# Accept.


NOT_EQUIVALENT_ALONE = {half for halves in HALVES for half in (halves.breaks, halves.mends)}


class Proofs:
    """What one `mmufuzz prove --all` says of every equivalence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        run = mmufuzz("prove --all --json report.json", folder, seconds=INTERPRETED_SECONDS)
        assert run.returncode == NOT_ALONE, run.stderr
        self.rows = {row["patch"]: row for row in report_in(folder)["results"]}

    def reproduced(self, patch: str) -> Finding:
        """The finding in the reproducer that it left of the patch."""
        return decode_reproducer((self.folder / self.rows[patch]["reproducer"]).read_bytes()).finding


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory) -> Proofs:
    """Made once, in a process of its own: compiled that takes a minute, interpreted four."""
    return Proofs(tmp_path_factory.mktemp("proofs"))


@pytest.mark.slow
@pytest.mark.timeout(INTERPRETED_SECONDS)
@pytest.mark.parametrize("patch", sorted(set(EQUIVALENCES) - NOT_EQUIVALENT_ALONE))
def test_every_equivalence_is_proven(proofs: Proofs, patch: str) -> None:
    proof = proofs.rows[patch]
    assert proof["counterexample"] is None
    assert proof["proven"]
    programs = [sweep for sweep in SWEEPS[patch] if sweep.profile]  # in lockstep, on two bases
    assert proof["programs"] == 2 * PROGRAMS * len(programs)
    inputs = proof["cases"] - proof["programs"]  # the fewest has the series, the next a release
    assert inputs > 1_000 or (patch == "series-kvm-no-struct-page" and inputs > 500)
    assert proof["exhaustive"]
    assert all(sweep.claim in proof["domain"] for sweep in SWEEPS[patch])


@pytest.mark.slow
@pytest.mark.timeout(INTERPRETED_SECONDS)
@pytest.mark.parametrize(
    ("patch", "other", "shown"),
    [
        ("gup-no-wait-error-code", "x86-convert-to-faultin-pfn", "program seed "),
        ("x86-convert-to-faultin-pfn", "gup-no-wait-error-code", "program seed "),
        ("introduce-kvm-follow-pfn", "follow-pfn-refcounted-page-output", "memory anon, "),
        ("follow-pfn-refcounted-page-output", "introduce-kvm-follow-pfn", "memory anon, "),
    ],
)
def test_half_an_equivalence_is_told_as_such_and_proven_with_the_other_half(
    proofs: Proofs, patch: str, other: str, shown: str
) -> None:
    proof = proofs.rows[patch]
    assert (proof["proven"], proof["together"][0]) == (False, other)
    assert proof["cases"] > 100_000
    assert proof["counterexample"].startswith(shown)
    if shown.startswith("program"):
        assert proofs.reproduced(patch).patches == (patch,)
    else:
        assert proof["reproducer"] is None


def test_two_halves_go_on_together_with_what_lies_between() -> None:
    for sides in bases_of("gup-no-wait-error-code", "x86-convert-to-faultin-pfn"):
        changed = sides.after.patches - sides.before.patches
        assert {"gup-no-wait-error-code", "introduce-kvm-follow-pfn", "x86-convert-to-faultin-pfn"} <= changed
        assert all(PATCHES[patch].kind == "equivalence" for patch in changed)


def test_every_equivalence_has_sweeps_and_nothing_else_has() -> None:
    assert sorted(SWEEPS) == sorted(EQUIVALENCES)


@pytest.mark.parametrize("patch", EQUIVALENCES)
def test_both_bases_differ_in_the_patch_alone(patch: str) -> None:
    oldest, newest = bases_of(patch)
    for sides in (oldest, newest):
        assert sides.after.patches - sides.before.patches == {patch}
        assert sides.before.patches < sides.after.patches
    assert oldest.after.patches == base_of(patch).patches | closure([patch])
    assert all(patch in closure([left]) for left in NEW.patches - newest.after.patches)


# Reject: what the patch requires is missing, or a patch too many is there.

SHADOW_RULES = ("flush-iff-mmuw-cleared", "no-flush-on-clear-accessed", "shadow-no-flush-on-clear-dirty")


def broken_bases() -> list[Any]:
    cases = [
        ("fold-make-spte-writable", OLD, with_only(["fold-make-spte-writable"], ["always-dirty-if-writable"])),
        ("ept-accessed-mask-always", OLD, with_only(["ept-accessed-mask-always"], ["dedicated-ad-enabled-flag"])),
        (
            "dedicated-ad-enabled-flag",
            with_only(["ept-accessed-mask-always"], ["dedicated-ad-enabled-flag"]),
            with_only(["ept-accessed-mask-always"]),
        ),
        ("ept-dirty-mask-always", OLD, with_only(["sw-dirty-when-ad-off"])),
        ("ept-accessed-mask-always", OLD, with_only(["sw-accessed-when-ad-off"])),
        ("age-flush-elision-kconfig", OLD, with_only(["age-elides-tlb-flush"])),
        ("age-flush-elision-kconfig", OLD, with_only(["age-flush-elision-kconfig", "placebo-flush"])),
    ]
    for missing in SHADOW_RULES:
        for patch in ("fold-spte-update-no-track", "dedup-leaf-flush-rule"):
            before = with_only(set(PATCHES[patch].requires) - {missing})
            cases.append((patch, before, with_only([patch], [missing])))
    return [pytest.param(*case, id=f"{case[0]}-{number}") for number, case in enumerate(cases)]


@pytest.mark.parametrize(("patch", "before", "after"), broken_bases())
def test_a_wrong_base_is_noticed(patch: str, before: Semantics, after: Semantics) -> None:
    proof = prove(patch, [SemanticsPair(before, after)])
    assert not proof.proven
    assert proof.counterexample is not None
    assert "\n" not in proof.counterexample


# Reject: a function that behaves otherwise when the patch is on.


def spoiled(result: Any) -> Any:
    if isinstance(result, Generator):
        return one_point_more(result)
    if isinstance(result, tuple):
        return (spoiled(result[0]), *result[1:])
    return not result if isinstance(result, bool) else result + 1


def one_point_more(flow: Generator[int, None, object]) -> Generator[int, None, object]:
    result = yield from flow
    yield 1
    return result


def broken_with(patch: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its result spoiled wherever the patch is on; its first argument is a machine or its masks."""

    def broken(first: Any, *rest: Any) -> Any:
        result = function(first, *rest)
        return spoiled(result) if getattr(first.sem, flag(patch)) else result

    return broken


@pytest.mark.parametrize(
    ("patch", "function"),
    [
        ("fold-make-spte-writable", "make_spte"),
        ("drop-clear-dirty-slot-ret", "kvm_mmu_slot_leaf_clear_dirty"),
        ("drop-clear-dirty-slot-ret", "enable_dirty_log"),
        ("fold-spte-update-no-track", "mmu_spte_update_needs_flush"),
        ("fold-spte-update-no-track", "spte_has_volatile_bits"),
        ("fold-spte-update-no-track", "kvm_rmap_age_gfn_range"),
        ("dedicated-ad-enabled-flag", "page_fault_can_be_fast"),
        ("dedicated-ad-enabled-flag", "make_nonleaf_spte"),
        ("dedicated-ad-enabled-flag", "tdp_mmu_need_write_protect"),
        ("dedicated-ad-enabled-flag", "fast_pf_new_spte"),
        ("ept-accessed-mask-always", "is_accessed_spte"),
        ("ept-accessed-mask-always", "mark_spte_for_access_track"),
        ("ept-accessed-mask-always", "make_spte"),
        ("ept-dirty-mask-always", "is_dirty_spte"),
        ("ept-dirty-mask-always", "mmu_spte_update_needs_flush"),
        ("ept-dirty-mask-always", "make_spte"),
        ("dedup-leaf-flush-rule", "mmu_spte_update_needs_flush"),
        ("dedup-leaf-flush-rule", "tdp_mmu_map_handle_target_level"),
        ("age-flush-elision-kconfig", "kvm_mmu_notifier_clear_flush_young"),
        ("drop-max-level-param", "kvm_mmu_max_mapping_level"),
    ],
)
def test_a_changed_function_is_noticed(patch: str, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make_spte_sweeps if function == "make_spte" else equivalences
    monkeypatch.setattr(module, function, broken_with(patch, getattr(module, function)))
    proof = prove(patch)
    assert not proof.proven
    assert proof.counterexample is not None


def test_a_call_to_mmu_try_to_unsync_pages_more_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls_twice(m: Any, sp: Any, slot: Any, access: Any, gfn: Any, *rest: Any) -> Any:
        if m.sem.fold_make_spte_writable:
            mmu_try_to_unsync_pages(m, gfn, False, False)
        return make_spte(m, sp, slot, access, gfn, *rest)

    monkeypatch.setattr(make_spte_sweeps, "make_spte", calls_twice)
    assert not prove("fold-make-spte-writable").proven


@pytest.mark.parametrize(
    ("profile", "after"),
    [("aging", "placebo-flush"), ("mixed", "sw-dirty-when-ad-off"), ("log", "resched-check-before-progress")],
)
def test_lockstep_sees_a_flush_a_bit_and_a_counter(profile: str, after: str) -> None:
    # Each shows in more than one program of four: all 60 miss it with probability 3e-8, and seeds are fixed.
    cases = islice(lockstep(profile).cases(SemanticsPair(OLD, Semantics(closure([after])))), 60)
    assert any(case.before != case.after for case in cases)


def test_a_sweep_without_cases_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equivalences, "model_calls", lambda function: iter(()))
    proof = prove("drop-max-level-param")
    assert not proof.proven
    assert "nothing was compared" in str(proof.counterexample)


def test_calls_in_a_source_are_told_apart() -> None:
    source = "def f():\n    yield from g(1)\n    if (yield from g(2)):\n        return g(LAST)\n    g(4)\n"
    calls = list(calls_in(source, "g"))
    assert sorted((line, isinstance(around, ast.Expr)) for line, _, around in calls) == [
        (2, True),
        (3, False),
        (4, False),
        (5, True),
    ]
    assert {ast.unparse(call.args[-1]) for _, call, _ in calls} == {"1", "2", "LAST", "4"}


def test_other_patches_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownPatch, match="did you mean drop-max-level-param"):
        prove("drop-max-level")
    with pytest.raises(NoEquivalence, match="'age-elides-tlb-flush' is a semantic patch"):
        prove("age-elides-tlb-flush")
    row = msgspec.structs.replace(PATCHES["s390-unpin-via-page"], modelled=False)
    monkeypatch.setitem(PATCHES, row.id, row)
    with pytest.raises(NoEquivalence, match="'s390-unpin-via-page' is not modelled yet: its switch changes nothing"):
        prove(row.id)
