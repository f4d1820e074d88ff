# SPDX-License-Identifier: GPL-2.0-only
"""Every semantic and cost patch shows, alone, what its commit message allows."""

from itertools import islice

import msgspec
import pytest

from fuzzer.expose import PROFILE_OF, Exposure, NothingToExpose, expose_steps, search
from fuzzer.hunt import Hunt
from fuzzer.program.profile import PROFILES
from fuzzer.reproducer import decode_reproducer, trace_digest
from fuzzer.seed_runner import SeedRunner
from reference_mmu.changelog.patches import PATCHES, UnknownPatch, can_be_cause, closure
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.changelog.semantics import Semantics, base_of

CHANGES = [patch.id for patch in PATCHES.values() if patch.kind != "equivalence" and can_be_cause(patch.id)]
AT_SYSTEM_LEVEL = [patch for patch in CHANGES if PATCHES[patch].level == "system"]
AT_FUNCTION_LEVEL = [patch for patch in CHANGES if PATCHES[patch].level == "function"]

# The shyest, age-valid-roots-only, shows in one program of 300 to 400: 6000 programs miss it with probability 3e-7.
# Seeds are fixed, so the odds matter only when generator or schedulers change.
PROGRAMS_MAX = 6000


def expose(patch: str, first_seed: int = 0) -> Exposure:
    steps = list(islice(expose_steps(patch, first_seed), PROGRAMS_MAX))
    return steps[-1]


def test_so_many_patches_change_something() -> None:
    assert len(CHANGES) == 58
    assert PROFILE_OF.keys() <= set(AT_SYSTEM_LEVEL)


# Real regressions. e500: as committed it passes no pointer for `writable`, which the look-up refuses with a WARN;
# 6.13 mends it. RISC-V: an attempt that turned out stale leaves with 0, and its page is marked dirty. LoongArch: alone,
# without loongarch-dirty-slow-path-only, which came first, the page is marked dirty after its reference was dropped.
DEFECTS = {
    "e500-faultin-pfn": {"new-warning", "warn"},
    "riscv-dirty-iff-pte-installed": {"more-dirty-marks", "more-page-lookups", "stale-fault-marks-dirty"},
    "loongarch-accessed-before-unlock": {"mark-without-reference"},
}
# Violations that end with a patch whose message does not say so.
FIXED_SILENTLY = {
    "apic-page-no-initial-fault-in": {"leftover-slot"},
    "mixedmap-no-refcount": {"refused-memory"},
    "disallow-unpinned-map-by-default": {"lost-dirty-page"},
    "x86-finish-page-fault-helper": {"late-page-mark"},
    "x86-unused-faultin-not-accessed": {"late-page-mark"},
    "e500-accessed-before-unlock": {"mark-without-reference"},
    "e500-faultin-pfn": {"freed-page-access", "mapped-freed-page", "refcount-underflow"},
    "ppc-hv-faultin-pfn": {"refcount-leak"},
    "ppc-dcbz-patch-via-vcpu-map": {"unsaved-write"},
    "loongarch-faultin-pfn": {"late-page-mark"},
    "mips-dirty-slow-path-only": {"writable-clean-page"},
    "mips-faultin-pfn": {"late-page-mark"},
}


@pytest.mark.parametrize("first_seed", [0, 1_000_000])
@pytest.mark.parametrize("patch", AT_SYSTEM_LEVEL)
def test_a_program_exposes_the_patch_alone(patch: str, first_seed: int) -> None:
    exposure = expose(patch, first_seed)
    assert exposure.exposed
    assert exposure.level == "system"
    assert exposure.effects
    expected = PATCHES[patch].allowed | PATCHES[patch].claims
    assert set(exposure.effects) <= expected | DEFECTS.get(patch, set()) | FIXED_SILENTLY.get(patch, set())

    assert exposure.reproducer is not None
    reproducer = decode_reproducer(exposure.reproducer)
    assert reproducer.finding.patches == (patch,)
    comparison = reproducer.comparison()
    assert comparison.new.patches == base_of(patch).patches | closure([patch])
    assert comparison.new.patches - comparison.old.patches == {patch}
    assert trace_digest(reproducer.run()) == reproducer.digest


@pytest.mark.parametrize("patch", AT_FUNCTION_LEVEL)
def test_what_no_program_shows_is_exposed_at_function_level(patch: str) -> None:
    exposure = expose(patch)
    assert exposure.exposed
    assert exposure.level == "function"
    shown = "page-references-differ" if patch == "vcpu-map-init-all-fields" else "fewer-flushes"
    assert exposure.effects == (shown,)
    assert exposure.reproducer is None
    assert exposure.reason == PATCHES[patch].why


@pytest.mark.parametrize(
    ("patch", "update"),
    [
        (
            "flush-iff-mmuw-cleared",
            "(R W HOST_W MMU_W) -> 0x600000000004801 (R HOST_W MMU_W): flush True before, False",
        ),
        ("no-flush-on-clear-accessed", "(P A) -> 0x4801 (P): flush True before, False"),
        ("vcpu-map-init-all-fields", "a map that failed: KVM holds -1 references before, 0 after"),
    ],
)
def test_the_witness_is_the_smallest_input(patch: str, update: str) -> None:
    assert update in str(expose(patch).witness)


@pytest.mark.parametrize("patch", AT_FUNCTION_LEVEL)
def test_no_program_shows_what_the_catalogue_calls_invisible(patch: str) -> None:
    hunt = Hunt(SeedRunner(OLD, Semantics(OLD.patches | closure([patch])), PROFILES["shadow"]))
    for seed in range(200):
        hunt.one(seed)
    assert hunt.found == {}


def test_a_search_repeats_itself() -> None:
    assert expose("tdp-fault-warn-flush-mmuw") == expose("tdp-fault-warn-flush-mmuw")


def test_a_search_that_finds_nothing_goes_on() -> None:
    steps = list(islice(search("age-elides-tlb-flush", Hunt(SeedRunner(OLD, OLD, PROFILES["aging"])), 0), 30))
    assert [step.programs for step in steps] == list(range(1, 31))
    assert not any(step.exposed or step.effects for step in steps)


def test_other_patches_are_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    awaited = PATCHES["vmx-apic-page-hold-mmu-lock"]
    monkeypatch.setitem(PATCHES, awaited.id, msgspec.structs.replace(awaited, modelled=False))
    with pytest.raises(UnknownPatch, match="did you mean age-elides-tlb-flush"):
        expose_steps("age-elides-flush")
    with pytest.raises(NothingToExpose, match="'drop-max-level-param' is an equivalence patch"):
        expose_steps("drop-max-level-param")
    with pytest.raises(NothingToExpose, match="'vmx-apic-page-hold-mmu-lock' is not modelled yet"):
        expose_steps("vmx-apic-page-hold-mmu-lock")
    with pytest.raises(NothingToExpose, match="'series-kvm-no-struct-page' is a merge"):
        expose_steps("series-kvm-no-struct-page")
