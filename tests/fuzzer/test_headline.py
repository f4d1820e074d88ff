# SPDX-License-Identifier: GPL-2.0-only
"""The published figure on fewer page tables: one flush per table before, one per yield and one at the end after."""

import pytest

from fuzzer.headline import (
    MARKED_TABLES,
    PUBLICATIONS,
    PUBLISHED_FLUSHES,
    PUBLISHED_MARKS,
    PUBLISHED_SECONDS,
    TABLES,
    WORKLOADS,
    YIELDS,
    Costs,
    Workload,
    ZapCounts,
    count_marks,
    make_machine,
    map_huge,
    resched_every,
    zap_collapsible,
)
from reference_mmu.changelog.patches import closure
from reference_mmu.changelog.semantics import NEW, Semantics, parse_semantics
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


# Without the second step a page is marked accessed however an SPTE changes, without the third when it is zapped.
STEPS = ("x86-dirty-at-spte-creation", "x86-accessed-at-leaf-zap-only", "zap-does-not-mark-page-accessed")


@pytest.mark.parametrize(
    ("workload", "marks"), [("clear dirty bits", (1024, 1024, 0)), ("zap SPTEs", (2048, 1024, 1024))]
)
def test_before_the_series_every_spte_marks_its_page(workload: Workload, marks: tuple[int, int, int]) -> None:
    """Page-table work is the same without the marks."""
    old = count_marks(parse_semantics("old"), workload, 2)
    assert (old.sptes, old.page_lookups, old.dirty_marks, old.accessed_marks) == (1024, *marks)
    after = count_marks(OLD, workload, 2)
    assert (after.page_lookups, after.dirty_marks, after.accessed_marks) == (0, 0, 0)
    assert (after.sptes_stored, after.iterator_checks) == (old.sptes_stored, old.iterator_checks)


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("last", range(1, 4))
def test_three_steps_take_the_marks_away(workload: Workload, last: int) -> None:
    """The first takes those of PG_dirty. That the page was accessed is then told by a zap by range alone, which neither
    workload does."""
    counts = count_marks(Semantics(closure(STEPS[:last])), workload, 2)
    assert counts.dirty_marks == 0
    assert counts.accessed_marks == (counts.sptes if workload == "zap SPTEs" and last == 1 else 0)


def test_a_gigabyte_of_small_pages_is_marked_as_often_as_published() -> None:
    assert MARKED_TABLES << 9 == PUBLISHED_MARKS == 262144
    assert {figure.how for figure in PUBLICATIONS} == {"counted", "fitted", "claimed"}
