# SPDX-License-Identifier: GPL-2.0-only
"""Groups of effects: what an author may announce in one word."""

from reference_mmu.changelog.effects import EFFECTS, GROUPS, NEVER_CONSEQUENCES


def test_a_group_has_effects_of_the_vocabulary_only() -> None:
    assert all(group.effects <= EFFECTS.keys() for group in GROUPS.values())
    assert GROUPS["all"].effects == EFFECTS.keys()


def test_no_two_kinds_of_effects_overlap() -> None:
    apart = [GROUPS[name].effects for name in GROUPS if name != "all"]
    assert sum(map(len, apart)) == len(frozenset().union(*apart))


def test_contents_errors_and_permissions_are_in_no_group_but_all() -> None:
    for name in GROUPS.keys() - {"all"}:
        assert GROUPS[name].effects.isdisjoint(NEVER_CONSEQUENCES), name
