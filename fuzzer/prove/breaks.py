# SPDX-License-Identifier: GPL-2.0-only
"""Every way to break a piece of code at one place: statements left out, conditions that are always or never true,
operators and operands exchanged or dropped, constants one off, values replaced by 0.

Nothing is chosen by hand. What a break does is to be noticed by whoever claims to know what the code does.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from fuzzer.change.edits import Change, Edit, deletion, expressions_of, replaced, statements_of, words

_SIMPLE: Final = (ast.Assign, ast.AugAssign, ast.Expr, ast.Break, ast.Continue)
_SWAPPED: Final[dict[type[ast.AST], str]] = {
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.BitOr: "&",
    ast.BitAnd: "|",
    ast.Add: "-",
    ast.Sub: "+",
}
_VALUES: Final = (ast.Name, ast.Attribute, ast.Subscript, ast.Call)


def breaks(function: ast.FunctionDef, lines: frozenset[int]) -> Iterator[Change]:
    """Every break of the function's code that begins on one of the lines. Assertions for the type checker and texts for
    people are left alone, and so are switches of the model: what another commit does is not asked."""
    asserted = {id(node) for stmt in statements_of(function) if isinstance(stmt, ast.Assert) for node in ast.walk(stmt)}
    for stmt in statements_of(function):
        if stmt.lineno in lines and id(stmt) not in asserted:
            yield from broken_statement(stmt)
    for node in expressions_of(function):
        if node.lineno in lines and id(node) not in asserted:
            yield from broken_expression(node)


def broken_statement(stmt: ast.stmt) -> Iterator[Change]:
    match stmt:
        case ast.Expr(value=ast.Constant()):
            pass
        case ast.Return(value=None):
            yield deletion(stmt)
        case ast.If(test=test) if not is_switch(test):
            yield replaced(test, "True")
            yield replaced(test, "False")
        case ast.While(test=test) if not isinstance(test, ast.Constant):
            yield replaced(test, "False")
        case ast.Return(value=value) | ast.Assign(value=value) | ast.AugAssign(value=value):
            yield from zeroed(value)
    if isinstance(stmt, _SIMPLE) and not (isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)):
        yield deletion(stmt)


def broken_expression(node: ast.expr) -> Iterator[Change]:
    match node:
        case ast.Constant(value=bool() as value):
            yield replaced(node, str(not value))
        case ast.Constant(value=int() as value):
            yield replaced(node, str(value + 1))
        case ast.UnaryOp(operand=operand) if not is_switch(node):
            yield replaced(node, in_brackets(operand))
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield replaced(node, in_brackets(body))
            yield replaced(node, in_brackets(orelse))
            yield from zeroed(body)
            yield from zeroed(orelse)
            del test  # its two answers are the two above
        case ast.BoolOp(op=operator, values=values):
            other = " or " if isinstance(operator, ast.And) else " and "
            yield replaced(node, f"({other.join(map(in_brackets, values))})")
            for left_out in [value for value in values if not is_switch(value)]:
                kept = [in_brackets(value) for value in values if value is not left_out]
                yield replaced(node, f"({(' and ' if isinstance(operator, ast.And) else ' or ').join(kept)})")
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            if type(operator) in _SWAPPED:
                yield replaced(node, f"({in_brackets(left)} {_SWAPPED[type(operator)]} {in_brackets(right)})")
        case ast.BinOp(left=left, op=operator, right=right):
            yield replaced(node, in_brackets(left))
            yield replaced(node, in_brackets(right))
            if type(operator) in _SWAPPED:
                yield replaced(node, f"({in_brackets(left)} {_SWAPPED[type(operator)]} {in_brackets(right)})")
        case ast.Call(args=arguments):
            for argument in arguments:
                yield from zeroed(argument)


def is_switch(node: ast.expr) -> bool:
    """Is that `sem.patch`, or the negation of it?"""
    if isinstance(node, ast.UnaryOp):
        return is_switch(node.operand)
    return isinstance(node, ast.Attribute) and ast.unparse(node.value).rpartition(".")[2] == "sem"


def zeroed(value: ast.expr | None) -> Iterator[Change]:
    """0, which is False, in place of a value; what a flow does before it has the value is still done."""
    if isinstance(value, _VALUES) and not is_switch(value):
        yield replaced(value, "0")
    elif isinstance(value, ast.YieldFrom):
        yield Change(f"`{words(value)}` is 0", [Edit(value, f"0 * bool({ast.unparse(value)})")])


def in_brackets(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if isinstance(node, ast.Name | ast.Constant | ast.Attribute | ast.Call) else f"({text})"
