# SPDX-License-Identifier: GPL-2.0-only
"""Mechanical mutants of the model: one flush, check, sequence step, dirty-log update or lock is taken out.

An operator looks at one function and yields edits of its source text; nothing is chosen by hand.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from fuzzer.variant import shipped_source

FLOW_MODULES: Final = (
    "aging",
    "dirty_log",
    "eager_split",
    "fast_fault",
    "fault",
    "flush",
    "gup",
    "host",
    "machine",
    "memslot_update",
    "mmu_spte",
    "notifier",
    "points",
    "primary",
    "rmap",
    "roots",
    "shadow",
    "shadow_page",
    "tdp_iter",
    "tdp_mmu",
    "tlb",
    "vcpu",
    "write_protect",
    "zap",
    "zap_range",
)

_FLAGS: Final = ("flush", "need_tlb_flush", "write_protected", "spte_set")
_LOCAL_FLUSHES: Final = ("flush_all", "kick_all", "flush", "invalidate")
_STALE_CHECKS: Final = ("mmu_invalidate_retry_gfn", "is_page_fault_stale", "is_obsolete_sp")
_SEQ_FIELDS: Final = ("mmu_invalidate_seq", "mmu_invalidate_in_progress", "mn_active_invalidate_count", "mmu_valid_gen")
_SEQ_CALLS: Final = ("kvm_mmu_invalidate_begin", "kvm_mmu_invalidate_range_add", "kvm_mmu_invalidate_end")
_DIRTY_WALK: Final = re.compile("dirty|write_protect|wrprot|remove_write_access|split_huge_pages")
_DIRTY_BITS: Final = {"dbit", "PT_WRITABLE_MASK", "shadow_dirty_mask", "shadow_mmu_writable_mask"}
_DIRTY_CALLS: Final = ("mark_page_dirty_in_slot", "vmx_flush_pml_buffer", "set_all_dirty")
# (what, is it taken?) by the name of the method.
_LOCKS: Final = {
    "read_lock": ("read", True),
    "read_unlock": ("read", False),
    "write_lock": ("write", True),
    "write_unlock": ("write", False),
    "rcu_read_lock": ("rcu", True),
    "rcu_read_unlock": ("rcu", False),
}


class Mutant(msgspec.Struct, frozen=True):
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
        lines = (text.splitlines(keepends=True) for text in (shipped_source(self.file), self.source))
        return "".join(difflib.unified_diff(*lines, f"a/{path}", f"b/{path}"))


class Edit(NamedTuple):
    """Replace what `node` spans."""

    node: ast.stmt | ast.expr
    text: str


class Change(NamedTuple):
    about: str
    edits: list[Edit]


Operator = Callable[[ast.FunctionDef], Iterator[Change]]


def enumerate_mutants() -> list[Mutant]:
    """All mutants of the shipped model, in the order of modules, lines and kinds."""
    mutants: list[Mutant] = []
    for module in FLOW_MODULES:
        file = f"{module}.py"
        text = shipped_source(file)
        for name, function in _functions(ast.parse(text)):
            count: Counter[str] = Counter()
            for kind, operator in OPERATORS.items():
                for change in operator(function):
                    count[kind] += 1
                    changed = apply_edits(text, change.edits)
                    ast.parse(changed)
                    line = change.edits[0].node.lineno
                    mutants.append(Mutant(f"{file}:{name}:{kind}:{count[kind]}", kind, file, line, change.about, changed))
    return [*mutants, *_wait_mutants()]


def apply_edits(text: str, edits: list[Edit]) -> str:
    """Columns of the AST count bytes, so edits are made in bytes; the last one first, so that positions hold."""
    data = text.encode()
    starts = [0]
    for line in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, replacement in sorted(edits, key=lambda edit: -starts[edit.node.lineno - 1] - edit.node.col_offset):
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        data = data[:start] + replacement.encode() + data[end:]
    return data.decode()


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", method


# --- reading the tree --------------------------------------------------------------------------------------------


def _statements(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    """Every statement below the function, in source order."""
    found = [node for node in ast.walk(function) if isinstance(node, ast.stmt) and node is not function]
    yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _expressions(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Every expression of the function's body, in source order; annotations are none."""
    found = [node for stmt in function.body for node in ast.walk(stmt) if isinstance(node, ast.expr)]
    yield from sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _called(node: ast.AST) -> str:
    """The name of what `node` calls, be it a statement, a `yield from` or the call itself; "" if it is no call."""
    while isinstance(node, ast.Expr | ast.YieldFrom):
        assert node.value is not None
        node = node.value
    if not isinstance(node, ast.Call):
        return ""
    return _last_name(node.func)


def _last_name(node: ast.AST) -> str:
    """`c` of a.b.c, `a` of a."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _names(node: ast.AST) -> set[str]:
    return {_last_name(child) for child in ast.walk(node)} - {""}


def _delete(stmt: ast.stmt) -> Edit:
    """A generator must stay one without its only `yield from`."""
    generator = any(isinstance(node, ast.YieldFrom) for node in ast.walk(stmt))
    return Edit(stmt, "yield from ()" if generator else "pass")


def _deletion(stmt: ast.stmt) -> Change:
    return Change(f"without `{_words(stmt)}`", [_delete(stmt)])


def _false(node: ast.expr, text: str = "False") -> Change:
    return Change(f"`{_words(node)}` is {text}", [Edit(node, text)])


def _words(node: ast.AST) -> str:
    words = ast.unparse(node).replace("\n", " ")
    return words if len(words) <= 60 else words[:57] + "..."


# --- flushes -----------------------------------------------------------------------------------------------------


def flush_call(function: ast.FunctionDef) -> Iterator[Change]:
    """A remote flush is not made."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr) and _called(stmt) == "kvm_flush_remote_tlbs":
            yield _deletion(stmt)


def flush_flag(function: ast.FunctionDef) -> Iterator[Change]:
    """A pending flush is forgotten: the flag is not set, not handed on or not returned."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Return) and stmt.value is not None and not isinstance(stmt.value, ast.Constant):
            if _last_name(stmt.value) in _FLAGS or "needs" in _called(stmt.value) or _called(stmt.value).endswith("update"):
                yield _false(stmt.value)
        if not isinstance(stmt, ast.Assign) or _last_name(stmt.targets[0]) not in _FLAGS:
            continue
        if isinstance(stmt.value, ast.YieldFrom):
            yield Change(f"result of `{_words(stmt.value)}` lost", [Edit(stmt, ast.unparse(stmt.value))])
        elif isinstance(stmt.value, ast.Constant):
            if stmt.value.value is True:
                yield _deletion(stmt)
        else:
            yield _deletion(stmt)


def flush_local(function: ast.FunctionDef) -> Iterator[Change]:
    """A vCPU keeps what it has cached, is not kicked, or is not asked to drop its root."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr) and _called(stmt) in _LOCAL_FLUSHES:
            yield _deletion(stmt)
        elif isinstance(stmt, ast.Assign) and _last_name(stmt.targets[0]) == "free_obsolete_roots":
            if isinstance(stmt.value, ast.Constant) and stmt.value.value is True:
                yield _deletion(stmt)


# --- retry checks ------------------------------------------------------------------------------------------------


def stale_check(function: ast.FunctionDef) -> Iterator[Change]:
    """A fault does not ask whether what it knows is out of date."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) in _STALE_CHECKS:
            yield _false(node)


def invalid_check(function: ast.FunctionDef) -> Iterator[Change]:
    """INVALID slots and roots, and requests to drop roots, go unnoticed."""
    for node in _expressions(function):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            if node.attr in ("invalid", "free_obsolete_roots", "freed"):
                yield _false(node)


def frozen_check(function: ast.FunctionDef) -> Iterator[Change]:
    """A FROZEN entry is taken for any other."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) == "is_frozen_spte":
            yield _false(node)


def cmpxchg(function: ast.FunctionDef) -> Iterator[Change]:
    """An atomic update stores over whatever is there, or stores what it read before others changed it."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.If) and isinstance(stmt.test, ast.Compare):
            test = stmt.test
            subject = isinstance(test.left, ast.Subscript) and _last_name(test.left.value) == "spt"
            if subject or _last_name(test.left) == "current":
                yield _false(test, "True" if isinstance(test.ops[0], ast.Eq) else "False")
        if isinstance(stmt, ast.If) and len(stmt.body) == 1 and isinstance(stmt.body[0], ast.Assign):
            value = stmt.body[0].value
            if isinstance(value, ast.Subscript) and _last_name(value.value) == "spt":
                yield _deletion(stmt.body[0])


def lost_retry(function: ast.FunctionDef) -> Iterator[Change]:
    """A lost cmpxchg is not repeated, or passes for a success."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr) and _called(stmt) == "retry":
            yield _deletion(stmt)
        elif isinstance(stmt, ast.If) and isinstance(stmt.test, ast.UnaryOp) and isinstance(stmt.test.op, ast.Not):
            if _last_name(stmt.test.operand) in ("linked", "stored", "zapped", "split"):
                yield _false(stmt.test)


# --- mmu_seq -----------------------------------------------------------------------------------------------------


def seq(function: ast.FunctionDef) -> Iterator[Change]:
    """An invalidation is not counted, not announced, or not looked at."""
    for stmt in _statements(function):
        target = stmt.targets[0] if isinstance(stmt, ast.Assign) else getattr(stmt, "target", None)
        name = _last_name(target) if target is not None else ""
        if isinstance(stmt, ast.AugAssign) and name in _SEQ_FIELDS:
            yield _deletion(stmt)
        elif isinstance(stmt, ast.Assign) and name.startswith("mmu_invalidate_range_") and function.name != "__init__":
            yield _deletion(stmt)
        elif isinstance(stmt, ast.Expr) and _called(stmt) in _SEQ_CALLS:
            yield _deletion(stmt)
    for node in _expressions(function):
        if isinstance(node, ast.Compare) and any(name in _SEQ_FIELDS for name in _names(node)):
            yield _false(node)


def snapshot(function: ast.FunctionDef) -> Iterator[Change]:
    """The snapshot of mmu_invalidate_seq is taken too late: at the check, or after the page was looked up."""
    for node in _expressions(function):
        if isinstance(node, ast.Call) and _called(node) == "mmu_invalidate_retry_gfn":
            yield Change(f"snapshot taken at `{_words(node)}`", [Edit(node.args[1], "m.mmu_invalidate_seq")])
    for at, stmt in enumerate(function.body):
        if isinstance(stmt, ast.Assign) and _last_name(stmt.targets[0]) == "mmu_seq":
            for after in function.body[at:]:
                if isinstance(after, ast.Assign) and isinstance(after.value, ast.YieldFrom):
                    late = Edit(after, f"{ast.unparse(after)}\n    {ast.unparse(stmt)}")
                    yield Change(f"`{_words(stmt)}` after `{_words(after)}`", [_delete(stmt), late])


# --- dirty log ---------------------------------------------------------------------------------------------------


def dirty_bit(function: ast.FunctionDef) -> Iterator[Change]:
    """A bit of the bitmap, a PG_dirty, a PML buffer: one update is missing."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr) and _called(stmt) in _DIRTY_CALLS:
            yield _deletion(stmt)
        elif isinstance(stmt, ast.AugAssign) and "dirty_bitmap" in _names(stmt.target):
            yield _deletion(stmt)
        elif isinstance(stmt, ast.Assign) and function.name != "__init__":
            if _last_name(stmt.targets[0]) in ("dirty", "pml_enabled") and isinstance(stmt.targets[0], ast.Attribute):
                yield _deletion(stmt)


def bit_late(function: ast.FunctionDef) -> Iterator[Change]:
    """The bit is taken after its SPTEs were protected, not before."""
    for block in [node.body for node in ast.walk(function) if isinstance(node, ast.For | ast.While)]:
        for stmt in block[:-1]:
            if isinstance(stmt, ast.AugAssign) and "dirty_bitmap" in _names(stmt.target):
                last = block[-1]
                indent = "\n" + " " * last.col_offset
                late = Edit(last, f"{ast.unparse(last)}{indent}{ast.unparse(stmt)}")
                yield Change(f"`{_words(stmt)}` at the end of the loop", [_delete(stmt), late])


def dirty_clear(function: ast.FunctionDef) -> Iterator[Change]:
    """W, D or MMU_WRITABLE is not cleared."""
    for node in _expressions(function):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd) and isinstance(node.right, ast.UnaryOp):
            mask = node.right.operand
            a_parameter = isinstance(mask, ast.Name) and mask.id in ("bits", "mask")
            if isinstance(node.right.op, ast.Invert) and (a_parameter or _names(mask) & _DIRTY_BITS):
                yield _false(node, ast.unparse(node.left))
    for stmt in _statements(function):
        if isinstance(stmt, ast.Assign) and _called(stmt.value) == "tdp_mmu_clear_spte_bits":
            yield _deletion(stmt)


def dirty_walk(function: ast.FunctionDef) -> Iterator[Change]:
    """A whole step of dirty logging or of write protection is left out."""
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr | ast.Assign) and isinstance(stmt.value, ast.YieldFrom):
            if _DIRTY_WALK.search(_called(stmt.value)):
                if isinstance(stmt, ast.Expr):
                    yield _deletion(stmt)
                else:
                    yield _false(stmt.value)


# --- locks -------------------------------------------------------------------------------------------------------


def lock(function: ast.FunctionDef) -> Iterator[Change]:
    """A lock is not taken (or, where a walk drops it, not dropped)."""
    for group in _lock_groups(function):
        yield Change(f"without `{_words(group[0])}` and its other half", [_delete(stmt) for stmt in group])


def downgrade(function: ast.FunctionDef) -> Iterator[Change]:
    """mmu_lock is taken for read where it has to be taken for write."""
    for group in _lock_groups(function):
        if _called(group[0]) == "write_lock":
            edits = [Edit(stmt, ast.unparse(stmt).replace(".write_", ".read_")) for stmt in group]
            yield Change(f"`{_words(group[0])}` for read", edits)


def _lock_groups(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    """Taking and dropping of one lock that belong together: all up to where it starts over."""
    by_lock: dict[str, list[tuple[bool, ast.stmt]]] = {}
    for stmt in _statements(function):
        what, taken = _lock_step(stmt)
        if what:
            by_lock.setdefault(what, []).append((taken, stmt))
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


def _lock_step(stmt: ast.stmt) -> tuple[str, bool]:
    if isinstance(stmt, ast.Assign) and _last_name(stmt.targets[0]) == "slots_lock":
        return "slots_lock", isinstance(stmt.value, ast.Constant) and stmt.value.value is True
    if isinstance(stmt, ast.Assign | ast.AugAssign):
        return "", False
    if not isinstance(stmt, ast.Expr) or not isinstance(stmt.value, ast.Call):
        return "", False
    name = _called(stmt)
    if name in ("lock", "unlock") and isinstance(stmt.value.func, ast.Attribute):
        return _last_name(stmt.value.func.value), name == "lock"
    return _LOCKS.get(name, ("", False))


def grace_period(function: ast.FunctionDef) -> Iterator[Change]:
    """Nobody waits for the readers of SRCU, or those of RCU, before going on."""
    for stmt, after in zip(function.body, function.body[1:], strict=False):
        if isinstance(stmt, ast.Expr) and _called(stmt) == "synchronize_srcu":
            # The point goes, too: it would wait for the readers of an older snapshot.
            yield Change(f"without `{_words(stmt)}`", [_delete(stmt), Edit(after, "yield from ()")])
    for stmt in _statements(function):
        if isinstance(stmt, ast.Expr) and _called(stmt) == "call_rcu":
            assert isinstance(stmt.value, ast.Call)
            yield Change(f"`{_words(stmt)}` frees at once", [Edit(stmt, f"m.free_table({ast.unparse(stmt.value.args[0])})")])


def _wait_mutants() -> list[Mutant]:
    """A point at which an actor waits lets it through. Only waits that are not for mmu_lock: taking a lock that is
    not free is a ModelBug by construction."""
    file = "points.py"
    text = shipped_source(file)
    mutants = []
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(value, ast.Name) and value.id in ("WANT_SRCU", "WANT_NOTIFIERS", "WANT_SLOTS_LOCK"):
                assert isinstance(key, ast.Name)
                changed = apply_edits(text, [Edit(value, "0")])
                about = f"nobody waits at {key.id} ({value.id})"
                mutants.append(Mutant(f"{file}:{key.id}:wait:1", "wait", file, value.lineno, about, changed))
    return mutants


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
    "lock": lock,
    "downgrade": downgrade,
    "grace-period": grace_period,
}
KINDS: Final = (*OPERATORS, "wait")
