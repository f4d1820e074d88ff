# SPDX-License-Identifier: GPL-2.0-only
"""Semantics against the catalogue, and its spec strings there and back."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reference_mmu.changelog.patches import PATCHES, PLACEBOS, SERIES, closure, dependents
from reference_mmu.changelog.semantics import (
    BASES,
    NEW,
    NO_STRUCT_PAGE,
    OLD,
    Semantics,
    UnknownPatch,
    base_of,
    parse_semantics,
)

SWITCHES = [*PATCHES, *PLACEBOS]
ID_SETS = st.frozensets(st.sampled_from(SWITCHES))


def switch(semantics: Semantics, patch_id: str) -> bool:
    value = getattr(semantics, patch_id.replace("-", "_"))
    assert isinstance(value, bool)
    return value


# Accept.


def test_old_has_nothing_on_and_new_everything_but_the_placebos() -> None:
    assert not any(switch(OLD, name) for name in SWITCHES)
    assert all(switch(NEW, name) for name in PATCHES)
    assert not any(switch(NEW, name) for name in PLACEBOS)


def test_the_bases_are_what_each_series_was_applied_to() -> None:
    assert {spec: parse_semantics(spec) for spec in BASES} == BASES
    assert {spec: base.spec() for spec, base in BASES.items()} == {spec: spec for spec in BASES}
    assert [*BASES.values()] == [OLD, NO_STRUCT_PAGE, NEW]
    assert NO_STRUCT_PAGE.patches == frozenset(SERIES["no-struct-page"])
    assert NEW.patches - NO_STRUCT_PAGE.patches == frozenset(SERIES["x86-mmu"])
    for patch in PATCHES:
        assert base_of(patch) == (NO_STRUCT_PAGE if patch in SERIES["x86-mmu"] else OLD)
    with pytest.raises(UnknownPatch, match="did you mean mixedmap-no-refcount"):
        base_of("mixedmap")


def test_every_patch_has_a_switch_and_every_switch_a_patch() -> None:
    names = {name for name in dir(OLD) if isinstance(getattr(OLD, name), bool)}
    assert names == {patch_id.replace("-", "_") for patch_id in SWITCHES}


@pytest.mark.parametrize("patch_id", SWITCHES)
def test_a_switch_follows_its_own_patch(patch_id: str) -> None:
    on = closure([patch_id])
    semantics = Semantics(on)
    assert {name for name in SWITCHES if switch(semantics, name)} == on


@given(ID_SETS)
def test_a_spec_parses_back_to_the_same_set(ids: frozenset[str]) -> None:
    semantics = Semantics(closure(ids))
    parsed = parse_semantics(semantics.spec())
    assert parsed.patches == semantics.patches
    assert parsed == semantics
    assert hash(parsed) == hash(semantics)
    assert parsed.spec() == semantics.spec()


@given(st.lists(st.sampled_from([*PATCHES]), min_size=1))
def test_steps_in_any_order_and_number_mean_a_set(names: list[str]) -> None:
    assert parse_semantics("old" + "".join(f"+{name}" for name in names)).patches == closure(names)
    left = frozenset(PATCHES) - dependents(names)
    assert parse_semantics("new" + "".join(f"-{name}" for name in names)).patches == left


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("old", "old"),
        ("new", "new"),
        ("old+age-elides-tlb-flush", "old+age-elides-tlb-flush"),
        ("old+age-flush-elision-kconfig+age-elides-tlb-flush", "old+age-elides-tlb-flush"),
        ("new-age-flush-elision-kconfig-age-elides-tlb-flush", "new-age-flush-elision-kconfig"),
        ("new-test-age-early-out-age-valid-roots-only", "new-age-valid-roots-only-test-age-early-out"),
        ("no-struct-page", "no-struct-page"),
        ("no-struct-page+age-elides-tlb-flush", "no-struct-page+age-elides-tlb-flush"),
        ("no-struct-page-gfn-to-page-read-only", "no-struct-page-gfn-to-page-read-only"),
        ("old+gup-no-wait-error-code", "old+gup-no-wait-error-code"),
        ("old+series-kvm-no-struct-page", "no-struct-page"),
        (
            "no-struct-page-s390-unpin-via-page+test-age-early-out",
            "no-struct-page+test-age-early-out-s390-unpin-via-page",
        ),
        ("old+mixedmap-no-refcount", "old+mixedmap-no-refcount"),
    ],
)
def test_a_spec_names_only_what_is_not_implied(spec: str, canonical: str) -> None:
    assert parse_semantics(spec).spec() == canonical


def test_semantics_prints_its_spec() -> None:
    assert repr(parse_semantics("new-test-age-early-out")) == "Semantics(new-test-age-early-out)"


# Odd, but legal.


def test_a_placebo_goes_with_every_base() -> None:
    for base, semantics in BASES.items():
        for name in PLACEBOS:
            assert parse_semantics(f"{base}+{name}").patches == semantics.patches | {name}
    mixed = parse_semantics("new+placebo-flush-test-age-early-out")
    assert mixed.spec() == "new-test-age-early-out+placebo-flush"


def test_all_patches_added_one_by_one_are_new() -> None:
    assert parse_semantics("old" + "".join(f"+{name}" for name in PATCHES)) == NEW
    assert parse_semantics("new" + "".join(f"-{name}" for name in PATCHES)) == OLD


def test_semantics_equal_nothing_else() -> None:
    assert OLD != NEW
    assert Semantics(frozenset()) != frozenset()


# Reject.


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("", "unknown semantics ''"),
        ("olt", "unknown semantics 'olt'"),
        ("OLD", "unknown semantics 'OLD'"),
        ("older", "unknown semantics 'older'"),
        (" old", "unknown semantics ' old'"),
        ("old\nnew", r"unknown semantics 'old\nnew'"),
        ("test-age-early-out", "unknown semantics 'test-age-early-out'"),
        ("old+", "unknown patch ''"),
        ("new-", "unknown patch ''"),
        ("old+age-elides", "unknown patch 'age-elides': did you mean age-elides-tlb-flush"),
        ("new-test-age-early-outx", "unknown patch 'test-age-early-outx': did you mean test-age-early-out"),
        ("new-test-age-early-out-nonsense", "unknown patch 'nonsense'"),
        ("old+nonsense+test-age-early-out", "unknown patch 'nonsense'"),
        ("old+test-age-early-out ", "unknown patch 'test-age-early-out '"),
        ("old-test-age-early-out", "'test-age-early-out' is off in old already"),
        ("new+test-age-early-out", "'test-age-early-out' is on in new already"),
        ("new-placebo-flush", "'placebo-flush' is off in new already"),
        ("no-struct-page+mixedmap-no-refcount", "'mixedmap-no-refcount' is on in no-struct-page already"),
        ("no-struct-page-test-age-early-out", "'test-age-early-out' is off in no-struct-page already"),
        ("no-struct", "unknown semantics 'no-struct': write old, no-struct-page, new, or +PATCH or -PATCH behind one"),
        ("no-struct-pages", "unknown semantics 'no-struct-pages'"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_in_one_line(spec: str, complaint: str) -> None:
    with pytest.raises(UnknownPatch) as caught:
        parse_semantics(spec)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@given(st.text(alphabet="+-odlnewa\n ", max_size=12))
def test_any_text_but_the_bases_is_refused_in_one_line(spec: str) -> None:
    assume(spec not in ("old", "new"))
    with pytest.raises(UnknownPatch) as caught:
        parse_semantics(spec)
    assert len(str(caught.value).splitlines()) == 1


def test_an_unknown_id_makes_no_semantics() -> None:
    with pytest.raises(UnknownPatch, match="unknown patch 'age-elides'"):
        Semantics(frozenset({"age-elides"}))


def test_a_kernel_without_what_a_patch_requires_never_existed() -> None:
    with pytest.raises(ValueError, match="'age-elides-tlb-flush' requires 'age-flush-elision-kconfig', which is off"):
        Semantics(frozenset({"age-elides-tlb-flush"}))
