# SPDX-License-Identifier: GPL-2.0-only
"""The published figure on fewer page tables: one flush per table before, one per yield and one at the end after."""

import pytest

from fuzzer.headline import (
    PUBLISHED_FLUSHES,
    PUBLISHED_SECONDS,
    TABLES,
    YIELDS,
    Costs,
    ZapCounts,
    make_machine,
    map_huge,
    resched_every,
    zap_collapsible,
)
from reference_mmu.changelog.semantics import NEW, parse_semantics
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.x86.spte import is_last_spte


@pytest.mark.parametrize(("tables", "every"), [(1, 1), (64, 0), (64, 1), (64, 7), (64, 63), (64, 64), (64, 1000)])
def test_flushes_are_tables_before_and_yields_plus_one_after(tables: int, every: int) -> None:
    yields = (tables - 1) // every if every else 0
    assert zap_collapsible(OLD, tables, every) == ZapCounts("no-struct-page", tables, yields, tables)
    assert zap_collapsible(NEW, tables, every) == ZapCounts("new", yields + 1, yields, tables)


def test_the_walk_goes_on_across_a_gigabyte() -> None:
    assert zap_collapsible(NEW, 520, 100) == ZapCounts("new", 6, 5, 520)


def test_the_one_patch_makes_the_difference() -> None:
    assert zap_collapsible(parse_semantics("no-struct-page+batch-collapsible-zap-flush"), 64, 7).flushes == 10
    assert zap_collapsible(parse_semantics("new-batch-collapsible-zap-flush"), 64, 7).flushes == 64


def test_page_tables_come_from_huge_pages_of_the_real_size() -> None:
    m = make_machine(NEW, 4)
    map_huge(m, 4)
    root = m.x86_vcpus[0].root
    assert root is not None
    assert (root.level, len(root.spt), len(m.x86_vcpus)) == (4, 512, 64)
    assert all(vcpu.root is root for vcpu in m.x86_vcpus)
    table = next(sp for sp in m.page_tables if sp.level == 2)
    assert [is_last_spte(spte, 2) for spte in list(table.spt)[:5]] == [True] * 4 + [False]


def test_at_full_size_the_walk_yields_as_often_as_the_published_count_says() -> None:
    assert (TABLES - 1) // resched_every(TABLES) == YIELDS == 75
    assert resched_every(TABLES, 0) == 0


def test_the_default_costs_are_solved_from_the_published_times() -> None:
    for flushes, seconds in zip(PUBLISHED_FLUSHES, PUBLISHED_SECONDS, strict=True):
        assert ZapCounts("any", flushes, 0, TABLES).seconds(Costs()) == pytest.approx(seconds)
    assert ZapCounts("any", 2, 0, 3).seconds(Costs(flush_us=10, table_us=100)) == pytest.approx(320e-6)
