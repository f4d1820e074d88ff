# SPDX-License-Identifier: GPL-2.0-only
"""Which flow of the model an operation is, and the shipped model itself."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Final

from fuzzer import ops
from fuzzer.execute import Flow, Model
from fuzzer.ops import Operation
from reference_mmu.machine import Machine


def model_of(package: str) -> Model:
    """The model that `package` holds: reference_mmu, or a changed copy of it that was loaded under another name."""
    flows = flows_of(package)

    def start_operation(m: Machine, actor: int, op: Operation) -> Flow:
        """Make the flow of `op`, to be run by `actor`. vCPU actors come first, so an actor's number is its vCPU's."""
        return flows[type(op)](m, actor, op)

    machine = import_module(f"{package}.machine")
    semantics = import_module(f"{package}.semantics")
    return Model(machine.Machine, semantics.Semantics, start_operation)


def flows_of(package: str) -> dict[type[Operation], Callable[..., Flow]]:
    """The flow of each kind of operation, as a function of machine, actor and operation."""
    aging = import_module(f"{package}.aging")
    dirty_log = import_module(f"{package}.dirty_log")
    gpte = import_module(f"{package}.gpte")
    memslot_update = import_module(f"{package}.memslot_update")
    primary = import_module(f"{package}.primary")
    vcpu = import_module(f"{package}.vcpu")
    write_protect = import_module(f"{package}.write_protect")
    zap_range = import_module(f"{package}.zap_range")
    return {
        ops.Read: lambda m, a, op: vcpu.vcpu_access(m, m.vcpus[a], op.gfn, False, op.upgrade_fails),
        ops.Write: lambda m, a, op: vcpu.vcpu_access(m, m.vcpus[a], op.gfn, True, False),
        ops.Prefetch: lambda m, a, op: vcpu.async_page_ready(m, m.vcpus[a], op.gfn, op.write, op.upgrade_fails),
        ops.Nested: lambda m, a, op: vcpu.nested_transition(m, m.vcpus[a]),
        ops.WritePte: lambda m, a, op: vcpu.vcpu_write_gpte(m, m.vcpus[a], op.gfn, op.index, gpte_of(gpte, op)),
        ops.Invlpg: lambda m, a, op: vcpu.invlpg(m, m.vcpus[a], op.gfn),
        ops.LoadCr3: lambda m, a, op: vcpu.load_cr3(m, m.vcpus[a], op.table),
        ops.ClearFlushYoung: lambda m, a, op: aging.kvm_mmu_notifier_clear_flush_young(m, op.hva, op.hva + op.npages),
        ops.ClearYoung: lambda m, a, op: aging.kvm_mmu_notifier_clear_young(m, op.hva, op.hva + op.npages),
        ops.TestYoung: lambda m, a, op: aging.kvm_mmu_notifier_test_young(m, op.hva),
        ops.NumaHint: lambda m, a, op: primary.change_protection_numa(m, op.hva, op.hva + op.npages),
        ops.Migrate: lambda m, a, op: primary.migrate_page(m, op.hva),
        ops.Reclaim: lambda m, a, op: primary.shrink_folio(m, op.hva),
        ops.Writeback: lambda m, a, op: primary.writeback(m, op.hva),
        ops.Share: lambda m, a, op: primary.share_page(m, op.hva),
        ops.Discard: lambda m, a, op: primary.discard(m, op.hva, op.hva + op.npages),
        ops.CollapseHuge: lambda m, a, op: primary.collapse_huge_page(m, op.hva),
        ops.EnableLog: lambda m, a, op: dirty_log.enable_dirty_log(m, op.slot),
        ops.GetLog: lambda m, a, op: dirty_log.kvm_get_dirty_log_protect(m, op.slot),
        ops.ClearLog: lambda m, a, op: dirty_log.kvm_clear_dirty_log_protect(m, op.slot, op.first, op.npages),
        ops.DisableLog: lambda m, a, op: dirty_log.disable_dirty_log(m, op.slot),
        ops.DeleteSlot: lambda m, a, op: memslot_update.kvm_delete_memslot(m, op.slot),
        ops.CreateSlot: lambda m, a, op: memslot_update.kvm_create_memslot(m, op.slot),
        ops.MoveSlot: lambda m, a, op: memslot_update.kvm_move_memslot(m, op.slot, op.base),
        ops.Track: lambda m, a, op: write_protect.kvm_write_track_add_gfn(m, op.gfn),
        ops.Untrack: lambda m, a, op: write_protect.kvm_write_track_remove_gfn(m, op.gfn),
        ops.ZapRange: lambda m, a, op: zap_range.kvm_zap_gfn_range(m, op.gfn, op.gfn + op.npages),
    }


def gpte_of(gpte: ModuleType, op: ops.WritePte) -> int:
    """The entry a guest stores."""
    if op.target < 0:
        return 0
    return int(gpte.make_gpte(op.target, op.writable, op.executable, op.accessed, op.dirty))


SHIPPED: Final = model_of("reference_mmu")
