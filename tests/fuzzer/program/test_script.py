# SPDX-License-Identifier: GPL-2.0-only
"""Scripts: programs by number, written down again as they were, each operation the flow that it names."""

from collections.abc import Iterator
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings

from fuzzer.program import ops
from fuzzer.program.arguments import YES_OR_NO, Argument, Hva, Resched, arguments_of
from fuzzer.program.generate import generate, generate_script
from fuzzer.program.ops import ALL_KINDS, ARGUMENTS, AnyOperation, Operation, has
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.program import Actor, Program
from fuzzer.program.script import WRITTEN, Script, flow_fields, flow_number, script_of
from fuzzer.strategies import structured_programs
from reference_mmu.config import Config
from reference_mmu.kvm import operations as common_operations
from reference_mmu.operations import MISHAPS, Call
from reference_mmu.x86 import operations as x86_operations
from reference_mmu.x86.operations import start_operation
from reference_mmu.x86.shadow_mmu.gpte import make_gpte
from reference_mmu.x86.vcpu_arch import Vcpu
from tests.by_hand import Stage

EVERY_PROFILE = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
EVERY_KIND = pytest.mark.parametrize("kind", ALL_KINDS, ids=lambda kind: kind.__name__)


def only(op: AnyOperation) -> Script:
    """A script of one operation."""
    (kind,) = [kind for kind, kinds in ops.KINDS.items() if type(op) in kinds]
    return script_of(Program(Config(), (Actor(kind, (op,)),)))  # type: ignore[arg-type]


def yes_or_no(kind: type[Operation]) -> list[str]:
    """The fields that are yes or no."""
    return [field for field, argument in ARGUMENTS[kind].items() if argument in YES_OR_NO]


# --- there and back --------------------------------------------------------------------------------------------


@EVERY_PROFILE
def test_a_script_is_written_down_as_the_program_it_was_made_of(profile: Profile) -> None:
    for seed in range(200):
        program = generate(seed, profile)
        assert script_of(program).program() == program, f"seed {seed}"


@settings(max_examples=100)
@given(structured_programs())
def test_so_is_any_program(program: Program) -> None:
    assert script_of(program).program() == program


@EVERY_PROFILE
def test_a_generated_script_is_the_generated_program(profile: Profile) -> None:
    for seed in range(50):
        script, again = generate_script(seed, profile), script_of(generate(seed, profile))
        assert script.config == again.config
        assert script.kinds == again.kinds
        assert script.uid_limit == again.uid_limit
        assert [list(map(fields, calls)) for calls in script.calls] == [list(map(fields, c)) for c in again.calls]


def fields(call: Call) -> tuple[int, ...]:
    return tuple(map(int, (call.uid, call.kind, call.a, call.b, call.c, call.resched)))


@EVERY_KIND
def test_no_field_of_an_operation_is_lost(kind: type[AnyOperation]) -> None:
    """Every number another one, and every combination of what is yes or no."""
    rest = yes_or_no(kind)
    numbers = {name: 3 + 2 * place for place, name in enumerate(kind.__struct_fields__) if name not in rest}
    for answers in product((False, True), repeat=len(rest)):
        op = kind(**numbers, **dict(zip(rest, answers, strict=True)))  # type: ignore[arg-type]
        (actor,) = only(op).program().actors
        assert actor.ops == (op,)
        assert msgspec.json.encode(actor.ops) == msgspec.json.encode((op,)), "a 1 is equal to a yes, but other bytes"


@pytest.mark.parametrize("target", [-1, 0, 1, 255])
def test_an_entry_that_is_not_present_keeps_its_rights(target: int) -> None:
    op = ops.WritePte(0, 1, 2, target, writable=False, executable=True, accessed=False, dirty=True)
    assert only(op).program().actors[0].ops == (op,)


# --- kinds -----------------------------------------------------------------------------------------------------


def test_every_operation_has_a_number() -> None:
    assert [kind for kind, _ in WRITTEN.values()] == list(ALL_KINDS)
    assert sorted(WRITTEN) == list(range(len(ALL_KINDS)))


def test_an_operation_without_a_flow_is_named() -> None:
    class UnmapAll(Operation, frozen=True):
        pass

    with pytest.raises(TypeError, match=r"^UnmapAll has no flow: add UNMAP_ALL to reference_mmu/x86/operations.py$"):
        flow_number(UnmapAll)


def test_an_operation_has_no_more_arguments_than_a_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Operation, frozen=True):
        a: Hva
        b: Hva
        c: Hva
        d: Hva
        resched: Resched

    wide: type[Operation] = Wide
    monkeypatch.setitem(ARGUMENTS, wide, arguments_of(wide))
    with pytest.raises(TypeError, match=r"^Wide has 4 arguments, its flow can have 3$"):
        flow_fields(Wide)


@EVERY_KIND
def test_every_field_is_an_argument(kind: type[AnyOperation]) -> None:
    """But for the uid and the resched mask; what a guest stores is one argument."""
    ((_, names),) = [row for row in WRITTEN.values() if row[0] is kind]
    apart = {"target", "writable", "executable", "accessed", "dirty"} if kind is ops.WritePte else set()
    assert {*names} == {*kind.__struct_fields__} - {"uid", "resched"} - {*MISHAPS} - apart
    assert len(names) + bool(apart) <= 3


@EVERY_KIND
def test_those_that_reschedule_bring_their_mask_and_others_none(kind: type[AnyOperation]) -> None:
    names = [name for name in kind.__struct_fields__ if name not in yes_or_no(kind)]
    (call,) = only(kind(**dict.fromkeys(names, 5))).calls[0]  # type: ignore[arg-type]
    assert call.resched == (5 if has(kind, Argument.RESCHED) else 0)


VCPU = 1
STORED = make_gpte(6, True, False, True, False)
# Every number another one, so that no two arguments can change places unseen.
FLOWS: list[tuple[AnyOperation, str, tuple[object, ...]]] = [
    (ops.Read(0, 5, upgrade_fails=True), "vcpu_access", (VCPU, 5, False, True)),
    (ops.Read(0, 5), "vcpu_access", (VCPU, 5, False, False)),
    (ops.Write(0, 5), "vcpu_access", (VCPU, 5, True, False)),
    (ops.Prefetch(0, 5, upgrade_fails=True), "async_page_ready", (VCPU, 5, False, True)),
    (ops.Prefetch(0, 5, write=True), "async_page_ready", (VCPU, 5, True, False)),
    (ops.Nested(0), "nested_transition", (VCPU,)),
    (ops.WritePte(0, 5, 2, 6, executable=False, dirty=False), "vcpu_write_gpte", (VCPU, 5, 2, STORED)),
    (ops.WritePte(0, 5, 2), "vcpu_write_gpte", (VCPU, 5, 2, 0)),
    (ops.Invlpg(0, 5), "invlpg", (VCPU, 5)),
    (ops.LoadCr3(0, 5), "load_cr3", (VCPU, 5)),
    (ops.MapPage(0, 5, True), "vcpu_map_page", (5, True)),
    (ops.RefreshCache(0, 5), "kvm_gpc_refresh", (5,)),
    (ops.RunL2(0, 5, 2, 6), "run_l2", (5, 2, 6)),
    (ops.CreateLapic(0), "create_lapic", (VCPU,)),
    (ops.AccessApic(0), "access_apic", (VCPU,)),
    (ops.PunchHole(0, 5, 2), "kvm_gmem_punch_hole", (5, 2)),
    (ops.PoisonPrivate(0, 5), "kvm_gmem_memory_failure", (5,)),
    (ops.SetAttributes(0, 5, 2, True), "kvm_vm_set_mem_attributes", (5, 7, True)),
    (ops.SetAttributes(0, 5, 2), "kvm_vm_set_mem_attributes", (5, 7, False)),
    (ops.ClearFlushYoung(0, 5, 2), "kvm_mmu_notifier_clear_flush_young", (5, 7)),
    (ops.ClearYoung(0, 5, 2), "kvm_mmu_notifier_clear_young", (5, 7)),
    (ops.TestYoung(0, 5), "kvm_mmu_notifier_test_young", (5,)),
    (ops.NumaHint(0, 5, 2), "change_protection_numa", (5, 7)),
    (ops.Migrate(0, 5), "migrate_page", (5,)),
    (ops.Reclaim(0, 5), "shrink_folio", (5,)),
    (ops.Writeback(0, 5), "writeback", (5,)),
    (ops.Share(0, 5), "share_page", (5,)),
    (ops.Discard(0, 5, 2), "discard", (5, 7)),
    (ops.CollapseHuge(0, 5), "collapse_block", (5,)),
    (ops.PageOut(0, 5), "shrink_folio_list", (5,)),
    (ops.Populate(0, 5), "madvise_populate", (5, False)),
    (ops.Populate(0, 5, write=True), "madvise_populate", (5, True)),
    (ops.Truncate(0, 5, 2), "truncate_pagecache_range", (5, 7)),
    (ops.Fork(0), "dup_mmap", ()),
    (ops.KsmMerge(0, 5), "try_to_merge_with_ksm_page", (5,)),
    (ops.Poison(0, 5), "memory_failure", (5,)),
    (ops.Munmap(0, 5), "munmap", (5,)),
    (ops.Mmap(0, 5), "mmap_fixed", (5,)),
    (ops.Mprotect(0, 5), "mprotect", (5, False)),
    (ops.Mprotect(0, 5, write=True), "mprotect", (5, True)),
    (ops.DontNeed(0, 5, 2), "madvise_dontneed", (5, 7)),
    (ops.Collapse(0, 5), "collapse_huge_page", (5,)),
    (ops.EnableLog(0, 5), "enable_dirty_log", (5,)),
    (ops.GetLog(0, 5), "kvm_get_dirty_log_protect", (5,)),
    (ops.ClearLog(0, 5, 2, 3), "kvm_clear_dirty_log_protect", (5, 2, 3)),
    (ops.DisableLog(0, 5), "disable_dirty_log", (5,)),
    (ops.DeleteSlot(0, 5), "kvm_delete_memslot", (5,)),
    (ops.CreateSlot(0, 5), "kvm_create_memslot", (5,)),
    (ops.MoveSlot(0, 5, 2), "kvm_move_memslot", (5, 2)),
    (ops.Track(0, 5), "kvm_write_track_add_gfn", (5,)),
    (ops.Untrack(0, 5), "kvm_write_track_remove_gfn", (5,)),
    (ops.ZapRange(0, 5, 2), "kvm_zap_gfn_range", (5, 7)),
]


# Flows of powerpc, s390 and arm64, tested there.
ELSEWHERE = {ops.PatchDcbz, ops.SharePage, ops.RunVsie, ops.CopyTags, ops.Fetch}


def test_every_operation_has_a_flow() -> None:
    assert {type(op) for op, _, _ in FLOWS} == {*ALL_KINDS} - ELSEWHERE


@pytest.mark.parametrize(("op", "function", "arguments"), FLOWS, ids=[repr(op) for op, _, _ in FLOWS])
def test_an_operation_is_a_flow_with_its_arguments(
    monkeypatch: pytest.MonkeyPatch, op: AnyOperation, function: str, arguments: tuple[object, ...]
) -> None:
    stage = Stage()
    called: list[tuple[object, ...]] = []

    def flow(*given: object) -> Iterator[int]:
        called.append(given)
        return iter(())

    for module in (common_operations, x86_operations):
        if hasattr(module, function):
            monkeypatch.setattr(module, function, flow)
    (call,) = only(op).calls[0]
    assert list(start_operation(stage.m, VCPU, call)) == []
    ((m, *rest),) = called
    assert m is stage.m
    assert tuple(int(value.number) if isinstance(value, Vcpu) else value for value in rest) == arguments


# --- actors and names ------------------------------------------------------------------------------------------


PROGRAM = Program(
    Config(vcpus=2),
    (
        Actor("vcpu", (ops.Read(3, 1), ops.Write(7, 1))),
        Actor("vcpu", ()),
        Actor("mm", (ops.ClearFlushYoung(5, 1, 1), ops.NumaHint(6, 1, 1))),
    ),
)


def test_actors_keep_their_order_and_their_kinds() -> None:
    script = script_of(PROGRAM)
    assert script.kinds == ["vcpu", "vcpu", "mm"]
    assert [[int(call.uid) for call in calls] for calls in script.calls] == [[3, 7], [], [5, 6]]


def test_the_limit_is_above_every_uid() -> None:
    for program in (PROGRAM, Program(Config(), ()), Program(Config(), (Actor("mm", ()),))):
        assert script_of(program).uid_limit == program.uid_limit()
    assert script_of(PROGRAM).uid_limit == 8


def test_an_operation_is_named_by_its_tag() -> None:
    script = script_of(PROGRAM)
    assert [script.tag(uid) for uid in (3, 7, 5, 6)] == ["read", "write", "clear-flush-young", "numa-hint"]


@pytest.mark.parametrize("uid", [-1, 0, 4, 8])
def test_what_is_no_operation_has_no_name(uid: int) -> None:
    with pytest.raises(KeyError, match=f"^{uid}$"):
        script_of(PROGRAM).tag(uid)
