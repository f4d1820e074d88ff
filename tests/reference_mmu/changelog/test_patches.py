# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue as shipped, what its loader accepts and what it refuses, and the two closures."""

import textwrap
from collections import Counter
from importlib.resources import files
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_mmu.changelog.effects import EFFECTS, OUTCOMES, Counted, Named
from reference_mmu.changelog.patches import (
    LEFT_ASIDE,
    PATCHES,
    PLACEBOS,
    SERIES,
    CatalogueError,
    Patch,
    UnknownPatch,
    can_be_cause,
    changes_nothing,
    closure,
    dependents,
    load_catalogue,
    not_modelled,
    series_of,
    unknown_patch,
)

ID_SETS = st.frozensets(st.sampled_from([*PATCHES, *PLACEBOS]))


def entry(patch_id: str = "a-b", **changes: str) -> str:
    """One catalogue entry as YAML; a value replaces a field, an empty value drops it."""
    fields = {
        "title": '"KVM: x86/mmu: A subject"',
        "upstream": "0123456789abcdef0123456789abcdef01234567",
        "area": "zap",
        "mmu": "tdp",
        "kind": "cost",
        "old": "before",
        "new": "after",
        "allowed": "[fewer-flushes]",
        "forbidden": "[memory-differs]",
        "functions": '["arch/x86/kvm/mmu/mmu.c:f"]',
    } | changes
    return "\n".join([f"- id: {patch_id}", *(f"  {name}: {value}" for name, value in fields.items() if value), ""])


# The catalogue as shipped.


def test_the_catalogue_has_two_series_and_seven_commits_that_are_no_rows() -> None:
    rows = {series: Counter(PATCHES[name].listed for name in names) for series, names in SERIES.items()}
    assert rows == {"no-struct-page": Counter({True: 63, False: 7}), "x86-mmu": Counter({True: 22})}
    assert [name for names in SERIES.values() for name in names] == list(PATCHES)
    assert len({patch.upstream for patch in PATCHES.values()}) == len(PATCHES)


def test_a_semantic_commit_announces_something_but_those_whose_message_says_that_nothing_changes() -> None:
    """Of these what is allowed merely follows: a mark moves to before the unlock, an API becomes that of all."""
    silent = {patch.id for patch in PATCHES.values() if patch.kind in ("semantic", "cost") and not patch.announced}
    assert silent == {
        "x86-finish-page-fault-helper",
        "vmx-apic-page-hold-mmu-lock",
        "e500-accessed-before-unlock",
        "arm64-accessed-dirty-before-unlock",
        "loongarch-accessed-before-unlock",
        "ppc-hv-faultin-pfn",
        "ppc-radix-faultin-pfn",
        "ppc-pr-dirty-accessed-after-pte",
        "ppc-pr-faultin-pfn",
        "arm64-mte-copy-tags-via-gfn-to-page",
    }


def test_what_is_announced_is_allowed() -> None:
    assert load_catalogue(entry(announced="[fewer-flushes]"))["a-b"].announced == {"fewer-flushes"}
    with pytest.raises(CatalogueError, match="announces 'more-flushes', which it does not allow"):
        load_catalogue(entry(announced="[more-flushes]"))


def test_rows_by_kind() -> None:
    kinds = {
        series: Counter(PATCHES[name].kind for name in names if PATCHES[name].listed)
        for series, names in SERIES.items()
    }
    assert kinds == {
        "no-struct-page": Counter(semantic=39, equivalence=22, cost=1, series=1),
        "x86-mmu": Counter(semantic=7, equivalence=9, cost=6),
    }


def test_rows_by_architecture() -> None:
    arches = Counter(PATCHES[name].arch for name in SERIES["no-struct-page"] if PATCHES[name].listed)
    assert arches == Counter(common=24, x86=14, powerpc=10, loongarch=4, mips=4, arm64=3, riscv=3, s390=1)
    assert {PATCHES[name].arch for name in SERIES["x86-mmu"]} == {"x86"}


def test_every_powerpc_commit_says_of_which_mmu() -> None:
    for patch in PATCHES.values():
        assert (patch.flavour is not None) == (patch.arch == "powerpc"), patch.id


def test_the_merge_requires_all_of_its_series() -> None:
    *members, merge = SERIES["no-struct-page"]
    assert PATCHES[merge].kind == "series"
    assert PATCHES[merge].requires == tuple(members)


def test_no_series_reaches_into_another() -> None:
    for names in SERIES.values():
        assert closure(names) == frozenset(names)
    assert series_of("mixedmap-no-refcount") == "no-struct-page"
    assert series_of("age-elides-tlb-flush") == "x86-mmu"
    with pytest.raises(UnknownPatch, match="did you mean mixedmap-no-refcount"):
        series_of("mixedmap")


def test_what_is_not_modelled_is_no_cause() -> None:
    assert can_be_cause("age-elides-tlb-flush")
    assert can_be_cause("placebo-flush")
    assert not any(can_be_cause(patch.id) for patch in PATCHES.values() if not patch.modelled)
    assert not can_be_cause("series-kvm-no-struct-page")
    assert "'mixedmap-no-refcount' is not modelled yet" in not_modelled("mixedmap-no-refcount")


def test_history_can_be_replayed_from_top_to_bottom() -> None:
    seen: set[str] = set()
    for patch in PATCHES.values():
        assert seen.issuperset(patch.requires), patch.id
        seen.add(patch.id)
    assert next(iter(PATCHES)) == "x86-dirty-at-spte-creation"
    assert SERIES["no-struct-page"][-1] == "series-kvm-no-struct-page"
    assert SERIES["x86-mmu"][0] == "flush-iff-mmuw-cleared"
    assert [*PATCHES][-1] == "demote-iter-yielded-warn"


def test_no_patch_may_change_what_the_guest_reads_or_writes() -> None:
    """But three: what KVM may not map any more, it does not write to either; nor does a guest, or an ioctl, whose
    access ends with an error."""
    refusing = {"disallow-unpinned-map-by-default", "gup-eagain-is-sigpending"}
    for patch in PATCHES.values():
        if patch.id not in refusing:
            assert {"read-differs", "memory-differs"} <= patch.forbidden, patch.id


def test_only_equivalences_and_the_merge_allow_nothing() -> None:
    """But one, which saves a look-up by pfn, as proofs leave aside."""
    saving = {"vmx-apic-page-faultin-pfn"}
    assert {patch.id for patch in PATCHES.values() if not patch.allowed} | saving == {
        patch.id for patch in PATCHES.values() if changes_nothing(patch)
    }
    assert all(PATCHES[patch].allowed == LEFT_ASIDE for patch in saving)


def test_three_patches_cannot_be_seen_at_system_level() -> None:
    assert {patch.id for patch in PATCHES.values() if patch.level == "function"} == {
        "no-flush-on-clear-accessed",
        "flush-iff-mmuw-cleared",
        "vcpu-map-init-all-fields",
    }


def test_one_message_of_the_x86_series_claims_to_fix_an_invariant() -> None:
    claims = {name: PATCHES[name].claims for name in SERIES["x86-mmu"] if PATCHES[name].claims}
    assert claims == {"tdp-fault-warn-flush-mmuw": {"stale-writable-mmuw"}}


def test_the_frozen_spte_belongs_to_the_tdp_mmu() -> None:
    for patch in PATCHES.values():
        if patch.mmu == "shadow":
            assert not [effect for effect in patch.allowed if "frozen" in effect], patch.id


def test_the_catalogue_stays_within_the_line_length() -> None:
    for name in ("no_struct_page.yaml", "x86_mmu.yaml"):
        text = (files("reference_mmu.changelog") / "catalogue" / name).read_text(encoding="utf-8")
        assert [line for line in text.splitlines() if len(line) > 120] == [], name


# The vocabulary.


def test_every_ordered_pair_of_outcomes_is_an_effect() -> None:
    pairs = {f"{new}-instead-of-{old}" for new in OUTCOMES for old in OUTCOMES if new != old}
    assert len(pairs) == len(OUTCOMES) * (len(OUTCOMES) - 1)
    assert pairs <= EFFECTS.keys()
    assert "none-instead-of-none" not in EFFECTS


def test_every_name_that_the_type_checker_knows_is_an_effect() -> None:
    counted = {f"{word}-{name}" for name in get_args(Counted) for word in ("fewer", "more")}
    assert counted <= EFFECTS.keys()
    assert {name for name in EFFECTS if "-instead-of-" not in name} - counted == set(get_args(Named))


def test_an_effect_is_explained_in_one_line() -> None:
    for name, meaning in EFFECTS.items():
        assert meaning, name
        assert "\n" not in meaning, name


def test_placebos_are_no_patches_and_keep_to_the_vocabulary() -> None:
    assert PLACEBOS.keys().isdisjoint(PATCHES)
    for effects in PLACEBOS.values():
        assert effects <= EFFECTS.keys()
    assert not PLACEBOS["placebo-points"]


# What the loader accepts.


def test_the_least_entry_loads_with_its_defaults() -> None:
    patch = load_catalogue(entry())["a-b"]
    assert patch == Patch(
        id="a-b",
        title="KVM: x86/mmu: A subject",
        upstream="0123456789abcdef0123456789abcdef01234567",
        area="zap",
        mmu="tdp",
        kind="cost",
        old="before",
        new="after",
        allowed=frozenset({"fewer-flushes"}),
        forbidden=frozenset({"memory-differs"}),
        functions=("arch/x86/kvm/mmu/mmu.c:f",),
    )
    assert (patch.requires, patch.level, patch.claims) == ((), "system", frozenset())
    assert (patch.arch, patch.flavour, patch.listed, patch.modelled) == ("x86", None, True, True)


def test_a_star_requires_all_above() -> None:
    patches = load_catalogue(entry("a") + entry("b") + entry("c", requires='["*"]') + entry("d"))
    assert patches["c"].requires == ("a", "b")


def test_a_patch_may_require_one_that_stands_below_it() -> None:
    patches = load_catalogue(entry("b", requires="[a]") + entry("a"))
    assert [*patches] == ["b", "a"]


def test_a_cost_patch_may_allow_nothing() -> None:
    assert load_catalogue(entry(allowed="[]"))["a-b"].allowed == frozenset()


def test_a_catalogue_may_be_empty() -> None:
    assert load_catalogue("[]") == {}


# What the loader refuses, in one line.


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (entry() + entry(), "'a-b' stands there twice"),
        (entry(allowed="[fewer-flashes]"), "'a-b' names the unknown effect 'fewer-flashes'"),
        (entry(forbidden="[none-instead-of-none]"), "unknown effect 'none-instead-of-none'"),
        (entry(forbidden="[fewer-flushes]"), "both allows and forbids 'fewer-flushes'"),
        (entry(requires="[c]"), "'a-b' requires the unknown patch 'c'"),
        (entry(requires="[a-b]"), "require each other: a-b -> a-b"),
        (entry("a", requires="[b]") + entry("b", requires="[a]"), "require each other"),
        (entry(kind="equivalence"), "is of kind equivalence and may allow nothing of the kind"),
        (entry(kind="series"), "is of kind series and may allow nothing of the kind"),
        (entry(arch="alpha"), "arch"),
        (entry(flavour="e500"), "has a flavour, which is for powerpc"),
        (entry(modelled="perhaps"), "modelled"),
        (entry(level="function"), "must say why"),
        (entry(why="because"), "must say why"),
        (entry(upstream="0123456789ab"), "upstream"),
        (entry(upstream=""), "upstream"),
        (entry(kind="cosmetic"), "kind"),
        (entry(colour="green"), "colour"),
        (entry(functions="[]"), "functions"),
        (entry(functions="[make_spte]"), "functions"),
        (entry("A_B"), "id"),
        ("- [", "catalogue: "),
        ("a: 1", "catalogue: "),
        ("", "catalogue: "),
    ],
)
def test_a_broken_catalogue_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(textwrap.dedent(text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


# The closures.


def test_closure_adds_what_is_required_of_the_required() -> None:
    assert closure(["sw-dirty-when-ad-off"]) == {
        "sw-dirty-when-ad-off",
        "ept-dirty-mask-always",
        "fold-make-spte-writable",
        "always-dirty-if-writable",
    }


def test_dependents_takes_what_requires_the_dependent() -> None:
    assert dependents(["always-dirty-if-writable"]) == {
        "always-dirty-if-writable",
        "fold-make-spte-writable",
        "sw-dirty-when-ad-off",
    }


def test_nothing_stays_nothing() -> None:
    assert closure([]) == frozenset()
    assert dependents([]) == frozenset()


@given(ID_SETS)
def test_closure_is_a_closure(ids: frozenset[str]) -> None:
    closed = closure(ids)
    assert ids <= closed
    assert closure(closed) == closed
    assert all(closed.issuperset(PATCHES[name].requires) for name in closed if name in PATCHES)


@given(ID_SETS)
def test_what_is_left_without_dependents_is_closed(ids: frozenset[str]) -> None:
    left = frozenset([*PATCHES, *PLACEBOS]) - dependents(ids)
    assert left.isdisjoint(ids)
    assert closure(left) == left


@given(ID_SETS, ID_SETS)
def test_the_closures_mirror_each_other(ids: frozenset[str], others: frozenset[str]) -> None:
    assert closure(ids).isdisjoint(others) == ids.isdisjoint(dependents(others))


def test_a_misspelt_id_gets_a_suggestion() -> None:
    for call in (closure, dependents):
        with pytest.raises(UnknownPatch, match="unknown patch 'age-elides': did you mean age-elides-tlb-flush"):
            call(["age-elides"])


def test_an_id_like_no_other_gets_no_suggestion() -> None:
    assert str(unknown_patch("qqqqqqq")) == "unknown patch 'qqqqqqq': 'mmufuzz patches' lists them"
