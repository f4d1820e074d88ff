# SPDX-License-Identifier: GPL-2.0-only
"""Mechanical mutants of the model: one flush, check, sequence step, dirty-log update or lock is taken out.

An operator looks at one function and yields edits of its source text; nothing is chosen by hand.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache
from itertools import pairwise
from typing import Final

from fuzzer.change.edits import Change, Edit, apply_edits
from fuzzer.change.edits import delete as _delete
from fuzzer.change.edits import deletion as _deletion
from fuzzer.change.edits import expressions_of as _expressions
from fuzzer.change.edits import functions_of as _functions
from fuzzer.change.edits import replaced as _false
from fuzzer.change.edits import statements_of as _statements
from fuzzer.change.edits import words as _words
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.arm64.points import FAULT_LOCK
from reference_mmu.points import GUP_FAULT
from reference_mmu.record import Record
from reference_mmu.x86.points import FAULT_LOCK_R, FAULT_PFN
from tests.changes import shipped_source

FLOW_MODULES: Final = (
    "arm64/arm64",
    "arm64/fault",
    "arm64/guest",
    "arm64/mmu",
    "arm64/pgtable",
    "arm64/split",
    "arm64/tlb",
    "kvm/dirty_log",
    "kvm/faultin",
    "kvm/flush",
    "kvm/follow_pfn",
    "kvm/guest_memfd",
    "kvm/kvm",
    "kvm/mem_attributes",
    "kvm/memslot_update",
    "kvm/mmu_notifier",
    "kvm/pfncache",
    "kvm/prefetch",
    "kvm/release",
    "kvm/tlb",
    "kvm/vcpu",
    "kvm/vcpu_map",
    "loongarch/fast_fault",
    "loongarch/fault",
    "loongarch/loongarch",
    "mips/fast_fault",
    "mips/fault",
    "mips/mips",
    "mm/filemap",
    "mm/fork",
    "mm/gup",
    "mm/host",
    "mm/huge_memory",
    "mm/khugepaged",
    "mm/ksm",
    "mm/madvise",
    "mm/memory",
    "mm/memory_failure",
    "mm/migrate",
    "mm/mm",
    "mm/mmap",
    "mm/mprotect",
    "mm/page_io",
    "mm/page_writeback",
    "mm/truncate",
    "mm/vmscan",
    "powerpc/book3s_32_mmu_host",
    "powerpc/book3s_64_mmu_host",
    "powerpc/book3s_64_mmu_hv",
    "powerpc/book3s_64_mmu_radix",
    "powerpc/book3s_hv",
    "powerpc/book3s_hv_uvmem",
    "powerpc/book3s_pr",
    "powerpc/dcbz",
    "powerpc/e500",
    "powerpc/e500_mmu_host",
    "powerpc/software_tlb",
    "riscv/fault",
    "riscv/gstage",
    "riscv/riscv",
    "s390/dirty_log",
    "s390/s390",
    "s390/vsie",
    "stage2/aging",
    "stage2/faultin",
    "stage2/flush",
    "stage2/machine",
    "stage2/memory_cache",
    "stage2/memslot",
    "stage2/resched",
    "stage2/stage2",
    "stage2/table",
    "stage2/tlb",
    "stage2/vcpu",
    "stage2/write_protect",
    "x86/aging",
    "x86/apic_access_page",
    "x86/dirty_log",
    "x86/fast_fault",
    "x86/fault",
    "x86/machine",
    "x86/roots",
    "x86/shadow_mmu/account_shadowed",
    "x86/shadow_mmu/direct_map",
    "x86/shadow_mmu/guest_walk",
    "x86/shadow_mmu/indirect_page",
    "x86/shadow_mmu/mmu_spte",
    "x86/shadow_mmu/paging_tmpl",
    "x86/shadow_mmu/rmap",
    "x86/shadow_mmu/shadow_page",
    "x86/shadow_mmu/sync",
    "x86/shadow_mmu/track_write",
    "x86/shadow_mmu/unsync",
    "x86/struct_page",
    "x86/tdp_mmu/eager_split",
    "x86/tdp_mmu/map",
    "x86/tdp_mmu/tdp_iter",
    "x86/tdp_mmu/tdp_mmu",
    "x86/tdp_mmu/zap",
    "x86/tlb",
    "x86/unmap",
    "x86/vcpu",
    "x86/vmx/nested",
    "x86/write_protect",
    "x86/zap_all_fast",
    "x86/zap_range",
)

_ROOMS_X86: Final = ("kvm", "mm", "x86")
"""Rooms whose flows x86 runs."""
# Stand for points, which have other numbers in other rooms.
_PASSES: Final = "POINT_THAT_PASSES"
_READS: Final = "POINT_THAT_READS"
_FLAGS: Final = ("flush", "need_tlb_flush", "write_protected", "spte_set", "changed")
_FLUSHES: Final = (
    "flush_remote_range",
    "gstage_remote_tlb_flush",
    "kvm_flush_remote_tlbs",
    "kvm_tlb_flush_vmid_ipa_nsh",
    "kvm_tlb_flush_vmid_range",
    "tlbie",
)
_FLUSH_RULES: Final = ("leaf_spte_change_needs_tlb_flush", "mmu_spte_update_needs_flush", "mmu_spte_update")
_LOCAL_FLUSHES: Final = (
    "drop_everywhere",
    "flush",
    "flush_all",
    "flush_range",
    "invalidate",
    "kick_all",
    "kvmppc_mmu_pte_pflush",
    "request_apic_page_reload",
)
_REQUESTS: Final = ("free_obsolete_roots", "apic_page_reload", "tlb_flush")
_RETRIES: Final = ("mmu_invalidate_retry", "mmu_invalidate_retry_gfn")
_STALE_CHECKS: Final = (*_RETRIES, "mmu_notifier_retry_cache", "is_page_fault_stale", "is_obsolete_sp", "gpte_changed")
_SEQ_FIELDS: Final = {"mmu_invalidate_seq", "mmu_invalidate_in_progress", "mn_active_invalidate_count", "mmu_valid_gen"}
_SEQ_CALLS: Final = ("kvm_mmu_invalidate_begin", "kvm_mmu_invalidate_range_add", "kvm_mmu_invalidate_end")
_DIRTY_WALK: Final = re.compile("dirty|write_protect|wrprot|remove_write_access|split_huge_pages|wp_")
_DIRTY_BITS: Final = {"dbit", "PT_WRITABLE_MASK", "S2_WRITE", "shadow_dirty_mask", "shadow_mmu_writable_mask"}
_DIRTY_CALLS: Final = (
    "log",
    "log_dirtied",
    "mark_page_dirty_in_slot",
    "set_all_dirty",
    "sync_changed",
    "update_dirty_map",
    "vmx_flush_pml_buffer",
)
_MARKS: Final = re.compile("kvm_set_(pfn|page)_(accessed|dirty)|set_page_dirty_lock|mark_(?!page_|unsync).+")
_CLEANER: Final = {
    "kvm_release_page_clean": "kvm_release_page_unused",
    "kvm_release_page_dirty": "kvm_release_page_clean",
    "kvm_release_pfn_dirty": "kvm_release_pfn_clean",
}
_PUTS: Final = re.compile("kvm_release_(page|pfn)_.*|kvm_release_faultin_page|(kvm_)?(put|unpin)_page")
_TRIED: Final = ("linked", "stored", "zapped", "broken")
"""Variables that say whether a cmpxchg has stored."""
_HARDWARE: Final = ("hardware_access", "vcpu_access")
"""Functions that are the CPU's own doing: a mutant of them is another CPU, not another kernel."""
_TELLS: Final = ("spte_changed", "record", "warn_on", "bug_on", "lockdep_assert")
_NOTES: Final = ("frozen",)
"""Variables that say only how an outcome is counted."""
# (what, is it taken?) by the name of the method.
_LOCKS: Final = {
    "read_lock": ("read", True),
    "read_unlock": ("read", False),
    "write_lock": ("write", True),
    "write_unlock": ("write", False),
    "rcu_read_lock": ("rcu", True),
    "rcu_read_unlock": ("rcu", False),
}


class Mutant(Record):
    """`id` is "file:function:kind:n", n counting from 1; `source` is the whole changed module."""

    id: str
    kind: str
    file: str
    line: int
    about: str
    source: str

    def diff(self) -> str:
        """The change as a unified diff."""
        path = f"reference_mmu/{self.file}"
        before = shipped_source(self.file).splitlines(keepends=True)
        after = self.source.splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, f"a/{path}", f"b/{path}"))


Functions = Mapping[str, ast.FunctionDef]
"""Those of a module, by name."""
Operator = Callable[[ast.FunctionDef], Iterator[Change]]
LockOperator = Callable[[ast.FunctionDef, Functions], Iterator[Change]]


def enumerate_mutants() -> list[Mutant]:
    """All mutants of the shipped model, in the order of modules, functions and kinds."""
    mutants: list[Mutant] = []
    for module in FLOW_MODULES:
        text = shipped_source(f"{module}.py")
        functions = dict(_functions(ast.parse(text)))
        for name in functions:
            mutants.extend(_mutants_of(f"{module}.py", text, name, functions))
    for room in ("", "x86/", "arm64/", "powerpc/"):
        mutants.extend(wait_mutants(f"{room}points.py"))
    return mutants


@cache
def mutants_by_name() -> dict[str, Mutant]:
    """All of them."""
    return {mutant.id: mutant for mutant in enumerate_mutants()}


def _mutants_of(file: str, text: str, name: str, functions: Functions) -> Iterator[Mutant]:
    for kind in _KINDS_OF_FUNCTIONS:
        if (kind == "downgrade" and not _for_read(file)) or (kind == "put" and file.startswith("mm/")):
            continue
        operator = OPERATORS.get(kind)
        changes = operator(functions[name]) if operator else _LOCK_OPERATORS[kind](functions[name], functions)
        for number, change in enumerate(changes, 1):
            if name in _HARDWARE or _is_bookkeeping(functions[name], change):
                continue
            changed = apply_edits(text, change.edits).replace(_READS, _for_read(file)).replace(_PASSES, _passing(file))
            yield Mutant(
                f"{file}:{name}:{kind}:{number}",
                kind,
                file,
                min(edit.node.lineno for edit in change.edits),
                change.about,
                changed,
            )


def _is_bookkeeping(function: ast.FunctionDef, change: Change) -> bool:
    """Is it about nothing that the kernel does: what an observer is told, what a placebo does on purpose, or the
    condition of an assertion, which tells of bugs and mends none?"""
    told = {id(node) for part in _told(function) for node in ast.walk(part)}
    return all(id(edit.node) in told for edit in change.edits)


def _told(function: ast.FunctionDef) -> Iterator[ast.AST]:
    for stmt in _statements(function):
        match stmt:
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name, value=whom), args=arguments)):
                if name in _TELLS or _last_name(whom) == "oracle":
                    yield from arguments
            case ast.Assign(value=value) if _assigned(stmt) in _NOTES:
                yield value
            case ast.If(test=test, body=body) if any(name.startswith("placebo") for name in _names(test)):
                yield from body


def _passing(file: str) -> str:
    """A point that waits for nothing."""
    return str(FAULT_PFN if file.partition("/")[0] in _ROOMS_X86 else GUP_FAULT)


def _for_read(file: str) -> str:
    """A point that waits for mmu_lock for read; "" where mmu_lock is a spinlock, which cannot be taken for read."""
    room = file.partition("/")[0]
    if room in _ROOMS_X86:
        return str(FAULT_LOCK_R)
    return str(FAULT_LOCK) if room in ("arm64", "stage2") else ""


# --- reading the tree --------------------------------------------------------------------------------------------


def _called(node: ast.AST) -> str:
    """The name of what `node` calls, be it a statement, a `yield from` or the call itself; "" if it is no call."""
    while isinstance(node, ast.Expr | ast.YieldFrom):
        assert node.value is not None
        node = node.value
    if not isinstance(node, ast.Call):
        return ""
    return _last_name(node.func)


def _does(stmt: ast.stmt, calls: Collection[str]) -> bool:
    """Is the statement a call, awaited or not, of one of these?"""
    return isinstance(stmt, ast.Expr) and _called(stmt) in calls


def _assigned(stmt: ast.stmt) -> str:
    """The name of what is assigned to, "" if the statement assigns to no single variable or attribute."""
    match stmt:
        case ast.Assign(targets=[target]) | ast.AugAssign(target=target):
            return _last_name(target)
    return ""


def _is_true(stmt: ast.stmt) -> bool:
    """Does the statement assign True?"""
    match stmt:
        case ast.Assign(value=ast.Constant(value=True)):
            return True
    return False


def _last_name(node: ast.AST) -> str:
    """`c` of a.b.c, `a` of a."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {_last_name(child) for child in ast.walk(node)} - {""}


def _moved(stmt: ast.stmt, after: ast.stmt, between: str = "pass") -> Change:
    """`stmt` comes after the later statement `after` of the same block, with `between` between the two."""
    later = f"\n{' ' * after.col_offset}".join((ast.unparse(after), between, ast.unparse(stmt)))
    return Change(f"`{_words(stmt)}` after `{_words(after)}`", [_delete(stmt), Edit(after, later)])


# --- flushes -----------------------------------------------------------------------------------------------------


def flush_call(function: ast.FunctionDef) -> Iterator[Change]:
    """A remote flush is not made."""
    for stmt in _statements(function):
        if _does(stmt, _FLUSHES):
            yield _deletion(stmt)


def flush_flag(function: ast.FunctionDef) -> Iterator[Change]:
    """A pending flush is forgotten: the flag is not set, not handed on or not returned."""
    for stmt in _statements(function):
        flag = _assigned(stmt) if _assigned(stmt) in _FLAGS else ""
        match stmt:
            case ast.Return(value=ast.Name(id=name) as value) if name in _FLAGS:
                yield _false(value)
            case ast.Return(value=ast.Call() as value) if _called(value) in _FLUSH_RULES:
                yield _false(value)
            case ast.Assign(value=ast.YieldFrom() as value) if flag:
                yield Change(f"result of `{_words(value)}` lost", [Edit(stmt, ast.unparse(value))])
            case ast.Assign(value=ast.Constant(value=False)):
                pass
            case ast.Assign(value=ast.BoolOp() | ast.Call() | ast.UnaryOp() as value) if flag and flag not in _names(
                value
            ):
                yield _false(value)  # this may be the only value it gets
            case ast.Assign() if flag:
                yield _deletion(stmt)
            case ast.Return(value=ast.Constant(value=True) as value) if function.name == "kvm_unmap_gfn_range":
                yield _false(value)


def flush_local(function: ast.FunctionDef) -> Iterator[Change]:
    """A vCPU keeps what it has cached, is not kicked, or is not asked to drop its root or renew its VMCS."""
    for stmt in _statements(function):
        if _does(stmt, _LOCAL_FLUSHES) or (_assigned(stmt) in _REQUESTS and _is_true(stmt)):
            yield _deletion(stmt)


# --- retry checks ------------------------------------------------------------------------------------------------


def stale_check(function: ast.FunctionDef) -> Iterator[Change]:
    """A fault does not ask whether what it knows is out of date."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) in _STALE_CHECKS:
            yield _false(node)


def invalid_check(function: ast.FunctionDef) -> Iterator[Change]:
    """INVALID slots and roots, and requests to a vCPU, go unnoticed."""
    for node in _expressions(function):
        match node:
            case ast.Attribute(attr="invalid" | "free_obsolete_roots" | "apic_page_reload", ctx=ast.Load()):
                yield _false(node)


def frozen_check(function: ast.FunctionDef) -> Iterator[Change]:
    """A FROZEN entry is taken for any other."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) == "is_frozen_spte":
            yield _false(node)


def cmpxchg(function: ast.FunctionDef) -> Iterator[Change]:
    """An atomic update stores over whatever is there, or stores what it read before others changed it."""
    for stmt in _statements(function):
        match stmt:
            case ast.If(test=ast.Compare(left=left, ops=[operator]) as test) if _reads_spte(left):
                yield _false(test, "True" if isinstance(operator, ast.Eq) else "False")
            case ast.If(body=[ast.Assign(value=ast.Subscript() as value) as reread]) if _reads_spte(value):
                yield _deletion(reread)
            case ast.If(test=ast.UnaryOp(operand=ast.Call(args=[sp, index, _, new]) as call)) if (
                _called(call) == "try_store"
            ):
                store = f"{_machine_of(function)}.store({', '.join(ast.unparse(node) for node in (sp, index, new))})"
                yield _false(stmt.test, f"{store} is not None")


def _reads_spte(node: ast.expr) -> bool:
    """sp.spt[index], or the variable that was just read from there."""
    return _last_name(node.value) == "spt" if isinstance(node, ast.Subscript) else _last_name(node) == "current"


def lost_retry(function: ast.FunctionDef) -> Iterator[Change]:
    """A lost cmpxchg is not repeated, or passes for a success."""
    for stmt in _statements(function):
        match stmt:
            case ast.Expr() if _does(stmt, ("retry",)):
                yield _deletion(stmt)
            case ast.If(test=ast.UnaryOp(op=ast.Not(), operand=ast.Name(id=name)) as test) if name in _TRIED:
                yield _false(test)


# --- mmu_seq -----------------------------------------------------------------------------------------------------


def seq(function: ast.FunctionDef) -> Iterator[Change]:
    """An invalidation is not counted, not announced, or not looked at."""
    for stmt in _statements(function):
        name = _assigned(stmt)
        counts = isinstance(stmt, ast.AugAssign) and name in _SEQ_FIELDS
        ranges = name.startswith("mmu_invalidate_range_") and function.name != "__init__"
        if counts or ranges or _does(stmt, _SEQ_CALLS):
            yield _deletion(stmt)
    for node in _expressions(function):
        if isinstance(node, ast.Compare) and _names(node) & _SEQ_FIELDS:
            yield _false(node)


def snapshot(function: ast.FunctionDef) -> Iterator[Change]:
    """The snapshot of mmu_invalidate_seq is taken too late: at the check, or after the page was looked up."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) in _RETRIES:
            yield Change(
                f"snapshot taken at `{_words(node)}`",
                [Edit(node.args[1], f"{_machine_of(function)}.mmu_invalidate_seq")],
            )
    loops = [stmt.body for stmt in _statements(function) if isinstance(stmt, ast.While)]
    for block in [function.body, *loops]:
        for at, stmt in enumerate(block):
            if _assigned(stmt) == "mmu_seq":
                for after in block[at:]:
                    if isinstance(after, ast.Assign) and isinstance(after.value, ast.YieldFrom):
                        yield _moved(stmt, after, f"yield {_PASSES}")


# --- dirty log ---------------------------------------------------------------------------------------------------


def dirty_bit(function: ast.FunctionDef) -> Iterator[Change]:
    """A bit of the bitmap, a PG_dirty, a PML buffer: one update is missing."""
    for stmt in _statements(function):
        match stmt:
            case ast.Expr() if _does(stmt, _DIRTY_CALLS):
                yield _deletion(stmt)
            case ast.AugAssign(target=target) if "dirty_bitmap" in _names(target):
                yield _deletion(stmt)
            case ast.Assign(targets=[ast.Attribute(attr="dirty" | "pml_enabled")]) if function.name != "__init__":
                yield _deletion(stmt)


def bit_late(function: ast.FunctionDef) -> Iterator[Change]:
    """The bit is taken after its SPTEs were protected, not before."""
    for block in [node.body for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]:
        for stmt in block[:-1]:
            if isinstance(stmt, ast.AugAssign) and "dirty_bitmap" in _names(stmt.target):
                yield _moved(stmt, block[-1])


def dirty_clear(function: ast.FunctionDef) -> Iterator[Change]:
    """W, D or MMU_WRITABLE is not cleared."""
    for node in _expressions(function):
        match node:
            case ast.BinOp(left=left, op=ast.BitAnd(), right=ast.UnaryOp(op=ast.Invert(), operand=mask)):
                a_parameter = isinstance(mask, ast.Name) and mask.id in ("bits", "mask")
                if a_parameter or _names(mask) & _DIRTY_BITS:
                    yield _false(node, ast.unparse(left))
    for stmt in _statements(function):
        if isinstance(stmt, ast.Assign) and _called(stmt.value) == "tdp_mmu_clear_spte_bits":
            yield _deletion(stmt)


def dirty_walk(function: ast.FunctionDef) -> Iterator[Change]:
    """A whole step of dirty logging or of write protection is left out."""
    for stmt in _statements(function):
        match stmt:
            case ast.Expr(value=ast.YieldFrom() as value) if _DIRTY_WALK.search(_called(value)):
                yield _deletion(stmt)
            case ast.Assign(value=ast.YieldFrom() as value) if _DIRTY_WALK.search(_called(value)):
                # A generator must stay one, even without its only `yield`.
                yield Change(_false(value).about, [Edit(value, "(yield from ()) is True")])


# --- struct page -------------------------------------------------------------------------------------------------


def mark(function: ast.FunctionDef) -> Iterator[Change]:
    """A page is not marked accessed, or not dirty: what was written passes for read, what was used for unused."""
    for stmt in _statements(function):
        if not isinstance(stmt, ast.Expr) or not isinstance(stmt.value, ast.Call):
            continue
        name = _called(stmt)
        if _MARKS.fullmatch(name):
            yield _deletion(stmt)
        elif name in _CLEANER:
            yield Change(f"{_CLEANER[name]}() for `{_words(stmt)}`", [Edit(stmt.value.func, _CLEANER[name])])
        elif name == "kvm_release_faultin_page":
            for node, text in zip(stmt.value.args[2:], ("True", "False"), strict=True):
                if ast.unparse(node) != text:
                    yield Change(f"`{_words(node)}` is {text} in `{_words(stmt)}`", [Edit(node, text)])


def put(function: ast.FunctionDef) -> Iterator[Change]:
    """A reference of KVM's is not taken, or not given back; nobody keeps account of those of the host's."""
    for stmt in _statements(function):
        takes = ast.unparse(stmt).startswith("m.host.get(")
        if isinstance(stmt, ast.Expr) and (takes or _PUTS.fullmatch(_called(stmt))):
            yield _deletion(stmt)


# --- locks -------------------------------------------------------------------------------------------------------


def lock(function: ast.FunctionDef, functions: Functions) -> Iterator[Change]:
    """A lock is neither waited for nor taken (or, where a walk drops it, not dropped)."""
    for group in _lock_groups(function, functions):
        edits = [*_waits(function, group[0], _PASSES), *(_delete(stmt) for stmt in group)]
        yield Change(f"without `{_words(group[0])}` and its other half", edits)


def downgrade(function: ast.FunctionDef, functions: Functions) -> Iterator[Change]:
    """mmu_lock is taken for read where it has to be taken for write."""
    for group in _lock_groups(function, functions):
        if _called(group[0]) == "write_lock":
            edits = [Edit(stmt, ast.unparse(stmt).replace(".write_", ".read_")) for stmt in group]
            yield Change(f"`{_words(group[0])}` for read", [*_waits(function, group[0], _READS), *edits])


def _waits(function: ast.FunctionDef, taking: ast.stmt, point: str) -> Iterator[Edit]:
    """The point just before a lock is taken waits for it: let it be another one, which waits for less."""
    for before, stmt in pairwise(_statements(function)):
        match before:
            case ast.Expr(value=ast.Yield(value=ast.Name(id=name))) if stmt is taking and _is_awaited(name):
                yield Edit(before, f"yield {point}")


def _is_awaited(name: str) -> bool:
    """Is something waited for at the point of that name? A variable may be any."""
    point = ".".join(name.lower().split("_", 1))
    tables = [architecture.points for architecture in ARCHITECTURES.values()]
    return any(table.wants[table.numbers[point]] != 0 for table in tables if point in table.numbers)


def _lock_groups(function: ast.FunctionDef, functions: Functions) -> Iterator[list[ast.stmt]]:
    """Taking and dropping of one lock that belong together: all up to where it starts over. A function that is called
    may do the dropping."""
    by_lock: dict[str, list[tuple[bool, ast.stmt]]] = {}
    for stmt in _statements(function):
        called = functions.get(_called(stmt))
        for step in [stmt] if called is None else _drops(called):
            what, taken = _lock_step(step)
            if what:
                by_lock.setdefault(what, []).append((taken, step))
    for steps in by_lock.values():
        group: list[ast.stmt] = []
        for number, (taken, stmt) in enumerate(steps):
            if group and taken == steps[0][0] and steps[number - 1][0] != taken:
                yield group
                group = []
            group.append(stmt)
        # A method that only takes or only drops is the lock's own.
        if len({taken for taken, _ in steps}) == 2:
            yield group


def _drops(function: ast.FunctionDef) -> list[ast.stmt]:
    """Where a function drops a lock that its caller has taken. What drops and takes again is a walk that pauses."""
    steps = [stmt for stmt in ast.walk(function) if isinstance(stmt, ast.stmt) and _lock_step(stmt)[0]]
    return [] if any(_lock_step(stmt)[1] for stmt in steps) else steps


def _lock_step(stmt: ast.stmt) -> tuple[str, bool]:
    """(which lock, is it taken?); ("", False) for any other statement."""
    match stmt:
        case ast.Assign() if _assigned(stmt) == "slots_lock":
            return "slots_lock", _is_true(stmt)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="lock" | "unlock" as name, value=which))):
            return _last_name(which), name == "lock"
        case ast.Expr(value=ast.Call()):
            return _LOCKS.get(_called(stmt), ("", False))
    return "", False


def grace_period(function: ast.FunctionDef) -> Iterator[Change]:
    """Nobody waits for the readers of SRCU, or those of RCU, before going on."""
    for stmt, after in zip(function.body, function.body[1:], strict=False):
        if _does(stmt, ("synchronize_srcu",)):
            # The point goes, too: it would wait for the readers of an older snapshot.
            yield Change(f"without `{_words(stmt)}`", [_delete(stmt), Edit(after, "yield from ()")])
    for stmt in _statements(function):
        match stmt:
            case ast.Expr(value=ast.Call(args=[freed])) if _does(stmt, ("call_rcu",)):
                yield Change(
                    f"`{_words(stmt)}` frees at once",
                    [Edit(stmt, f"{_machine_of(function)}.free_table({ast.unparse(freed)})")],
                )


def _machine_of(function: ast.FunctionDef) -> str:
    """What the function calls the machine: its first parameter."""
    return function.args.args[0].arg


def wait_mutants(file: str) -> Iterator[Mutant]:
    """A point at which an actor waits lets it through. Only waits that are not for mmu_lock: taking a lock that is
    not free is a ModelBug by construction."""
    text = shipped_source(file)
    for row in [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]:
        for keyword in row.keywords:
            match row.args[:1], keyword:
                case (
                    [ast.Name(id=point)],
                    ast.keyword(
                        arg="wants",
                        value=ast.Name(id="WANT_SRCU" | "WANT_NOTIFIERS" | "WANT_SLOTS_LOCK" | "WANT_FILEMAP" as want),
                    ),
                ):
                    about = f"nobody waits at {point} ({want})"
                    changed = apply_edits(text, [Edit(keyword.value, "0")])
                    yield Mutant(f"{file}:{point}:wait:1", "wait", file, keyword.value.lineno, about, changed)


OPERATORS: Final[dict[str, Operator]] = {
    "flush-call": flush_call,
    "flush-flag": flush_flag,
    "flush-local": flush_local,
    "stale-check": stale_check,
    "invalid-check": invalid_check,
    "frozen-check": frozen_check,
    "cmpxchg": cmpxchg,
    "lost-retry": lost_retry,
    "seq": seq,
    "snapshot": snapshot,
    "dirty-bit": dirty_bit,
    "bit-late": bit_late,
    "dirty-clear": dirty_clear,
    "dirty-walk": dirty_walk,
    "mark": mark,
    "put": put,
    "grace-period": grace_period,
}
_LOCK_OPERATORS: Final[dict[str, LockOperator]] = {"lock": lock, "downgrade": downgrade}
_KINDS_OF_FUNCTIONS: Final = (*OPERATORS, *_LOCK_OPERATORS)
KINDS: Final = (*_KINDS_OF_FUNCTIONS, "wait")
