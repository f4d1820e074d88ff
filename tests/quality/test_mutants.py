# SPDX-License-Identifier: GPL-2.0-only
"""The mutants: every kind exists, a sample of them dies here, and none lives without a reason on record.

`python -m tests.quality.mutate --all --jobs 2 --report docs/mutants.md` is the full experiment; it takes hours.
"""

import ast
from collections import Counter
from pathlib import Path

import pytest

from fuzzer.change.variant import apply_diff
from tests.changes import shipped_source
from tests.quality.mutate import killed, outlived, read_rows, search, stages_of, with_reason
from tests.quality.operators import KINDS, mutants_by_name

REPORT = Path(__file__).resolve().parents[2] / "docs" / "mutants.md"

# One of each kind that has any that die fast. The seeds are fixed, so this is no game of chance; when the model or the
# generator changes, the dice are cast anew: each died within PROGRAMS / 5 programs when this was written, which is a
# rate of some 5 / PROGRAMS or better, and then misses with odds of 1 : 150 at worst, typically below 1 : 10**6.
PROGRAMS = 1200
SAMPLE = (
    "kvm/mmu_notifier.py:kvm_mmu_notifier_invalidate_range_start:flush-call:1",
    "x86/unmap.py:kvm_unmap_gfn_range:flush-flag:2",
    "x86/machine.py:Machine.await_tlb_flush:flush-local:1",
    "x86/fault.py:kvm_tdp_mmu_page_fault:stale-check:1",
    "x86/fault.py:kvm_mmu_faultin_pfn:invalid-check:1",
    "x86/shadow_mmu/direct_map.py:mmu_set_spte:cmpxchg:1",
    "x86/fault.py:is_page_fault_stale:snapshot:1",
    "kvm/mmu_notifier.py:kvm_mmu_invalidate_end:seq:1",
    "x86/fast_fault.py:fast_pf_fix_direct_spte:dirty-bit:1",
    "x86/dirty_log.py:clear_dirty_pt_masked:dirty-clear:1",
    "x86/dirty_log.py:kvm_mmu_slot_enable_log_dirty:dirty-walk:4",
    "x86/fault.py:kvm_tdp_mmu_page_fault:lock:1",
    "kvm/mmu_notifier.py:kvm_mmu_notifier_invalidate_range_start:downgrade:1",
    "kvm/dirty_log.py:kvm_swap_flags:grace-period:1",
    "arm64/fault.py:finish_fault:put:1",
    "arm64/pgtable.py:unmap_below:flush-call:2",
    "arm64/tlb.py:kvm_tlb_flush_vmid_ipa_nsh:flush-local:1",
    "mips/fault.py:kvm_mips_map_page:snapshot:2",
    "powerpc/book3s_64_mmu_radix.py:kvmppc_book3s_instantiate_page:mark:1",
    "powerpc/book3s_hv.py:Book3sHv.kvm_arch_sync_dirty_log:dirty-walk:1",
    "riscv/fault.py:kvm_riscv_gstage_map:lock:1",
    "points.py:SLOTS_SRCU:wait:1",
)


def test_every_kind_has_mutants() -> None:
    counts = Counter(mutant.kind for mutant in mutants_by_name().values())
    assert set(counts) == set(KINDS)
    assert len(mutants_by_name()) == sum(counts.values()) >= 600


def test_a_mutant_is_a_small_change_that_compiles() -> None:
    for mutant in mutants_by_name().values():
        ast.parse(mutant.source)
        assert mutant.source != shipped_source(mutant.file)
        lines = [line for line in mutant.diff().splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        # The longest expressions of the model take five lines, and a mutant may put them on one.
        assert len(lines) <= 12, mutant.id


def test_what_no_kernel_does_is_no_mutant() -> None:
    """What is stored and what the oracle is told; a flush, and that of a placebo; a walk of the CPU."""
    stored = "x86/tdp_mmu/tdp_mmu.py:tdp_mmu_clear_spte_bits:dirty-clear"
    flushed = "kvm/mmu_notifier.py:kvm_handle_hva_range:flush-call"
    assert {f"{stored}:1", f"{flushed}:1"} <= mutants_by_name().keys()
    assert {f"{stored}:2", f"{flushed}:2"}.isdisjoint(mutants_by_name())
    assert not any(":hardware_access:" in name for name in mutants_by_name())


def test_kernels_between_two_commits_are_tried() -> None:
    tried = [
        semantics
        for semantics in stages_of("x86/tdp_mmu/map.py")
        if semantics.tdp_fault_warn_flush_mmuw and not semantics.dedup_leaf_flush_rule
    ]
    assert 0 < len(tried) < len(stages_of("x86/tdp_mmu/map.py"))


def test_the_diff_of_a_mutant_makes_the_mutant() -> None:
    mutant = mutants_by_name()[SAMPLE[0]]
    assert apply_diff(mutant.diff()) == {mutant.file: mutant.source}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_mutant_dies(name: str) -> None:
    result = search(mutants_by_name()[name], 0, PROGRAMS, 120.0)
    assert result.fate == "regression", result


def test_what_was_never_killed_is_on_record_with_a_reason() -> None:
    rows = read_rows(REPORT)
    assert mutants_by_name().keys() - rows.keys() == set(), (
        "run `python -m tests.quality.mutate --missing --report docs/mutants.md`"
    )
    lived = {name for name, row in rows.items() if name in mutants_by_name() and not killed(row)}
    assert lived - with_reason() == set()


def test_reasons_are_given_once_and_for_mutants_that_exist_and_live() -> None:
    names = [name for entry in outlived() for name in entry.mutants]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(names) - mutants_by_name().keys() == set()
    rows = read_rows(REPORT)
    assert [name for name in names if killed(rows[name])] == []
    assert all(entry.reason.strip() for entry in outlived())
