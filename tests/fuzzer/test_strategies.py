# SPDX-License-Identifier: GPL-2.0-only
"""The Hypothesis strategies: possible programs only, every operation within reach, and they shrink."""

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from fuzzer.program.need import ARM64, HV, PR, S390
from fuzzer.program.ops import KINDS, Operation, Write
from fuzzer.program.profile import PROFILES
from fuzzer.program.program import Program, decode_program
from fuzzer.run.compare import Comparison, Drive
from fuzzer.strategies import configs, operations, programs, schedules, structured_programs
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.config import Backing, Config, Flavour, GuestPaging, SlotConfig

QUICK = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("profile", PROFILES)
@settings(max_examples=20)
@given(data=st.data())
def test_programs_are_those_of_the_generator(profile: str, data: st.DataObject) -> None:
    program = data.draw(programs(profile))
    assert program.check() is program
    assert decode_program(program.encode()) == program


def test_an_unknown_profile_is_refused() -> None:
    with pytest.raises(KeyError, match="nonsense"):
        programs("nonsense")


@settings(QUICK, max_examples=100)
@given(structured_programs())
def test_structured_programs_are_possible_and_round_trip(program: Program) -> None:
    assert decode_program(program.encode()) == program


@settings(QUICK, max_examples=60)
@given(structured_programs(), schedules())
def test_the_model_with_itself_never_differs(program: Program, drive: Drive) -> None:
    """The same property as of generated programs, on a wider grammar."""
    for semantics in (OLD, NEW):
        outcome = Comparison(semantics, semantics, "old").run(program, drive)
        assert outcome.divergences == []
        assert outcome.pair.drift_turn == -1


MACHINES = (
    Config(
        nested=True,
        slots=(SlotConfig(base=0, npages=8, hva=0, gmem=0),),
        backing=("anon",) * 3,
        apic_page=SlotConfig(base=20, npages=1, hva=8),
    ),
    Config(mmu="shadow", paging="npt", guest_paging=GuestPaging(0, ())),
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_operation_can_be_drawn(kind: str) -> None:
    """Ten operations at most, each drawn evenly: 300 draws miss one with less than 1 in 10**12."""
    seen: set[type] = set()
    for config in MACHINES:

        @settings(QUICK, max_examples=300, database=None)
        @given(operations(kind, config.check(), 0))
        def collect(op: Operation) -> None:
            seen.add(type(op))

        collect()
    assert seen == {one for one in KINDS[kind] if not {PR, HV, S390, ARM64} & {*one.needs}}


@pytest.mark.slow
def test_every_architecture_and_kind_of_memory_is_drawn() -> None:
    """Hypothesis draws the same 300 machines every time: 11 MMUs, 17 kinds of memory."""
    seen: set[str] = set()

    @settings(QUICK, max_examples=300, database=None)
    @given(configs())
    def collect(config: Config) -> None:
        seen.update((config.architecture, config.mmu_name, *config.backing))
        seen.update(["gmem"] if config.gmem_pages else [])
        seen.update(["apic"] if config.apic_access_page else [])

    collect()
    assert seen == {*ARCHITECTURES, *get_args(Backing), *get_args(Flavour), "tdp", "shadow", "gmem", "apic"}


def test_structured_programs_shrink_to_what_matters() -> None:
    small = find(structured_programs(max_ops=1), writes, settings=settings(QUICK, max_examples=200))
    assert small.operations() == 1
    assert small.config.vcpus == 1
    assert small.config.backing == ("anon",)
    assert small.actors[0].ops == (Write(0, 0),)


def writes(program: Program) -> bool:
    return any(isinstance(op, Write) for actor in program.actors for op in actor.ops)


def test_without_hypothesis_it_says_what_to_do() -> None:
    script = "import sys; sys.modules['hypothesis'] = None\nimport fuzzer.strategies"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode != 0
    assert run.stderr.splitlines()[-1] == (
        "ImportError: fuzzer.strategies needs Hypothesis, which mmufuzz does not install: pip install hypothesis"
    )
