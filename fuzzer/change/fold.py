# SPDX-License-Identifier: GPL-2.0-only
"""A patch as a diff of the model: its flag folded out of the source, once as off and once as on.

The syntax tree only tells where things are; what is kept is kept as text, with its comments and its line breaks. One
use of the flag is folded at a time and the result parsed again, so that no edit has to know about another one.
"""

import ast
import re
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache, cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO
from typing import Final, NamedTuple

from reference_mmu.changelog.patches import PATCHES, PLACEBOS, unknown_patch

MODEL: Final = "reference_mmu"
CONTEXT_LINES: Final = 3

# Text that may take the place of a parenthesised group whatever stands around it.
_ATOM: Final = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)
# Expressions that need parentheses even where a statement expects an expression.
_NEEDS_GROUP: Final = (ast.Yield, ast.YieldFrom, ast.NamedExpr)
# Dropping one of these would drop a preemption point or a binding; anything else in a condition only looks.
_ACTS: Final = (ast.Yield, ast.YieldFrom, ast.Await, ast.NamedExpr)
_MULTI_LINE_TEXT: Final = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_PLACED: Final = (ast.expr, ast.stmt, ast.keyword)
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_LAYOUT: Final = {tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


class FoldError(ValueError):
    """The flag is used at a place that cannot be folded; the message is one line and names it."""


class Site(NamedTuple):
    """One use of a patch's flag: file relative to the root of the sources, line from 1, and qualified function name."""

    file: str
    line: int
    function: str


class Span(NamedTuple):
    """A stretch of source text, in characters, end excluded."""

    start: int
    end: int


def patch_diff(patch_id: str) -> str:
    """What the patch changes, as a unified diff of the model: folded off against folded on, other patches untouched.

    Empty if no model file reads the flag. Raises UnknownPatch and FoldError.
    """
    flag = flag_name(patch_id)
    parts = []
    for name, source in model_sources():
        try:
            off, on = fold(source, flag, False), fold(source, flag, True)
        except FoldError as error:
            raise FoldError(f"{name}: {error}") from error
        if off != on:
            parts.append(_unified_diff(name, off, on))
    return "".join(parts)


def patch_sites(patch_id: str) -> list[Site]:
    """Every place where the model reads the patch's flag, by file and line. Raises UnknownPatch."""
    return list(_all_sites().get(flag_name(patch_id), ()))


def flag_name(patch_id: str) -> str:
    """The attribute of Semantics that says whether the patch is on. Raises UnknownPatch."""
    if patch_id not in PATCHES and patch_id not in PLACEBOS:
        raise unknown_patch(patch_id)
    return patch_id.replace("-", "_")


def fold(source: str, flag: str, value: bool) -> str:
    """`source` as it would read if every `<anything>.flag` were the constant `value`.

    Branches that cannot be taken go, conditions lose the constant, and code that can no longer be reached goes as well;
    everything else stays as it is, character by character. What is returned has been parsed again.

    Raises SyntaxError for a source that does not parse and FoldError for a use in an f-string.
    """
    if flag not in source:
        return source
    while any(_uses(ast.parse(source), flag)):
        text = _Source(source)
        source = _fold_use(text, next(_uses(text.tree, flag)), value)
    return source


@cache
def model_sources() -> tuple[tuple[str, str], ...]:
    """Name and text of every module of the model, by name. The sources are there when the model is compiled, too."""

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            name = f"{prefix}/{entry.name}"
            if entry.is_dir():
                yield from walk(entry, name)
            elif entry.name.endswith(".py"):
                yield name, entry.read_text(encoding="utf-8")

    return tuple(walk(files(MODEL), MODEL))


def _uses(tree: ast.AST, flag: str) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == flag and isinstance(node.ctx, ast.Load):
            yield node


@cache
def _all_sites() -> dict[str, list[Site]]:
    """The places where the model reads each flag, by flag: the whole catalogue is listed by one look at the sources."""
    flags = {flag_name(patch_id) for patch_id in (*PATCHES, *PLACEBOS)}
    any_flag = re.compile("|".join(flags))
    sites: dict[str, list[Site]] = {}
    for name, source in model_sources():
        if any_flag.search(source) is None:
            continue
        text = _Source(source)
        for flag in flags & {node.attr for node in ast.walk(text.tree) if isinstance(node, ast.Attribute)}:
            sites.setdefault(flag, []).extend(_sites(name, text, flag))
    return sites


def _sites(name: str, text: "_Source", flag: str) -> list[Site]:
    return sorted(
        Site(name, use.end_lineno or use.lineno, ".".join(text.scope(use)) or "<module>")
        for use in _uses(text.tree, flag)
    )


class _Source:
    """One text of a module with its tree, and the way from nodes to characters, tokens and lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = _lines(text)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(StringIO(self.text).readline))

    @cached_property
    def words(self) -> list[tokenize.TokenInfo]:
        return [token for token in self.tokens if token.type not in _LAYOUT]

    @cached_property
    def word_starts(self) -> list[int]:
        return [self.at(token.start) for token in self.words]

    def above(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around `node`, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node

    def scope(self, node: ast.AST) -> list[str]:
        """Names of the classes and functions around `node`, outermost first."""
        return [outer.name for outer in self.above(node) if isinstance(outer, _SCOPES)][::-1]

    def at(self, position: tuple[int, int]) -> int:
        """Offset of a token's (line, column)."""
        return self.starts[position[0] - 1] + position[1]

    def span(self, node: ast.expr | ast.stmt | ast.keyword) -> Span:
        """Where the node stands, without parentheses around it. The tree counts columns in UTF-8 bytes."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return Span(self._offset(node.lineno, node.col_offset), self._offset(node.end_lineno, node.end_col_offset))

    def _offset(self, line: int, byte_column: int) -> int:
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:byte_column].decode())

    def group(self, node: ast.expr) -> Span:
        """Where the node stands, with all parentheses that only group it."""
        parent = self.parents[node]
        span = self.span(node)
        # The innermost parentheses in these may be an argument list.
        if isinstance(parent, (ast.Call, *_SCOPES)) or not isinstance(parent, _PLACED):
            return span
        limit = self.span(parent)
        while True:
            before = bisect_left(self.word_starts, span.start) - 1
            after = bisect_left(self.word_starts, span.end)
            if before < 0 or after >= len(self.words):
                return span
            if (self.words[before].string, self.words[after].string) != ("(", ")"):
                return span
            wider = Span(self.word_starts[before], self.word_starts[after] + 1)
            if wider.start < limit.start or wider.end > limit.end:
                return span
            span = wider

    def word_after(self, offset: int, string: str) -> int:
        """Offset of the first token `string` at or after `offset`."""
        index = bisect_left(self.word_starts, offset)
        return next(self.word_starts[i] for i in range(index, len(self.words)) if self.words[i].string == string)

    def line_of(self, offset: int) -> int:
        return bisect_right(self.starts, offset)

    def last_line(self, node: ast.stmt, outer: ast.stmt) -> int:
        """Last line of `node`, the end of a block of `outer` or `outer` itself, with the comments that belong to it."""
        assert node.end_lineno is not None
        last = node.end_lineno
        for number in range(last + 1, len(self.lines) + 1):
            line = self.lines[number - 1]
            if line.strip() and not (line.lstrip().startswith("#") and _indent(line) > outer.col_offset):
                break
            if line.strip():
                last = number
        return last

    def replaced(self, span: Span, new: str) -> str:
        """The text with `new` in place of `span`. Two words that come to touch are kept apart: `if(x)` is legal."""
        result = self.text[: span.start]
        for part in (new, self.text[span.end :]):
            touching = _is_word(result[-1:]) and _is_word(part[:1])
            result += f" {part}" if touching else part
        return result

    def put(self, node: ast.expr, new: str) -> str:
        """The text with `new` in place of `node` and of the parentheses around it, unless they hold a comment."""
        span, group = self.span(node), self.group(node)
        around = self.text[group.start : span.start] + self.text[span.end : group.end]
        return self.replaced(span if "#" in around else group, new)


def _lines(text: str) -> list[str]:
    """The lines as the parser counts them, with their ends; str.splitlines() knows more line ends."""
    return [line for line in re.split(r"(?<=\n)", text) if line]


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _fold_use(text: _Source, use: ast.Attribute, value: bool) -> str:
    """The text with the expression, or the statement, that `use` decides replaced by what is left of it."""
    # Before Python 3.12 the tree does not know where in an f-string an expression stands.
    if any(isinstance(outer, ast.JoinedStr) for outer in text.above(use)):
        raise FoldError(f"line {use.lineno}: '{use.attr}' stands in an f-string, which cannot be folded")
    node: ast.expr = use
    while True:
        parent = text.parents[node]
        if isinstance(parent, ast.UnaryOp) and isinstance(parent.op, ast.Not):
            node, value = parent, not value
        elif isinstance(parent, ast.BoolOp):
            if value == isinstance(parent.op, ast.And):
                return _without_operand(text, parent, node)
            before = parent.values[: parent.values.index(node)]
            if any(isinstance(part, _ACTS) for operand in before for part in ast.walk(operand)):
                return text.put(node, str(value))
            node = parent
        elif isinstance(parent, ast.IfExp) and parent.test is node:
            return _with_part(text, parent, parent.body if value else parent.orelse)
        elif isinstance(parent, ast.If) and parent.test is node:
            return _fold_if(text, parent, value)
        else:
            return text.put(node, str(value))


def _without_operand(text: _Source, operation: ast.BoolOp, operand: ast.expr) -> str:
    """The text without an operand of `and` or `or` that changes nothing."""
    values = operation.values
    if len(values) == 2:
        return _with_part(text, operation, values[0] if operand is values[1] else values[1])
    index = values.index(operand)
    gone = text.group(operand)
    if index == 0:
        return text.replaced(Span(gone.start, text.group(values[1]).start), "")
    operator = text.word_starts[bisect_left(text.word_starts, gone.start) - 1]
    first, last = text.line_of(operator), text.line_of(gone.end)
    rest = text.text[gone.end : text.starts[last]].strip()
    if text.lines[first - 1][: operator - text.starts[first - 1]].isspace() and (not rest or rest.startswith("#")):
        return text.replaced(Span(text.starts[first - 1], text.starts[last]), "")
    return text.replaced(Span(text.group(values[index - 1]).end, gone.end), "")


def _with_part(text: _Source, whole: ast.expr, part: ast.expr) -> str:
    """The text with `whole` replaced by its own `part`, without parentheses that have become needless."""
    inner, parent = text.span(part), text.parents[whole]
    bare = text.text[inner.start : inner.end]
    tight = isinstance(part, ast.Compare | ast.UnaryOp) and isinstance(parent, ast.BoolOp | ast.IfExp)
    loose = isinstance(parent, ast.stmt) and not isinstance(part, _NEEDS_GROUP)
    if "\n" not in bare and (isinstance(part, _ATOM) or tight or loose):
        return text.put(whole, bare)
    kept = text.group(part)
    return text.replaced(text.span(whole), text.text[kept.start : kept.end])


def _fold_if(text: _Source, node: ast.If, value: bool) -> str:
    """The text with the branch of an `if` or `elif` that is taken in place of the whole, and nothing unreachable."""
    is_elif = _is_elif(text, node)
    first, last = node.lineno, text.last_line(node, node)
    dead = _unreachable_after(text, node, value)
    after = text.lines[last : dead.start - 1] + text.lines[dead.stop - 1 :] if dead else text.lines[last:]
    indent = " " * node.col_offset
    then_last = text.last_line(node.body[-1], node)
    colon = text.word_after(text.group(node.test).end, ":")
    if value and is_elif:
        kept = [f"{indent}else{text.text[colon : text.starts[then_last]]}"]
    elif value:
        kept = _dedented(text, node, colon, then_last)
    elif not node.orelse:
        kept = [] if is_elif or len(_block_of(text, node)) > 1 else [f"{indent}pass\n"]
    elif is_elif:
        kept = text.lines[then_last:last]
    elif _is_elif(text, node.orelse[0]):
        keyword = node.orelse[0].lineno
        promoted = text.lines[keyword - 1].replace("elif", "if", 1)
        kept = [*text.lines[then_last : keyword - 1], promoted, *text.lines[keyword:last]]
    else:
        keyword = text.word_after(text.span(node.body[-1]).end, "else")
        colon = text.word_after(keyword, ":")
        kept = text.lines[then_last : text.line_of(keyword) - 1] + _dedented(text, node, colon, last)
    if not kept and first > 1 and text.lines[first - 2].isspace() and after and after[0].isspace():
        after = after[1:]
    return "".join(text.lines[: first - 1] + kept + after)


def _is_elif(text: _Source, node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and text.text.startswith("elif", text.span(node).start)


def _dedented(text: _Source, node: ast.If, colon: int, last: int) -> list[str]:
    """The block behind `colon` up to line `last`, at the indentation of `node`. Inside strings nothing moves."""
    header = text.line_of(colon)
    rest = text.text[colon + 1 : text.starts[header]].strip()
    if rest and not rest.startswith("#"):
        return [f"{' ' * node.col_offset}{rest}\n", *text.lines[header:last]]
    fixed: set[int] = set()
    for token in text.tokens:
        if token.type in _MULTI_LINE_TEXT:
            fixed.update(range(token.start[0] + 1, token.end[0] + 1))
    first_word = text.words[bisect_right(text.word_starts, colon)]
    shift = first_word.start[1] - node.col_offset
    lines = []
    for number in range(header + 1, last + 1):
        line = text.lines[number - 1]
        lines.append(line if number in fixed else line[min(shift, _indent(line.rstrip("\n"))) :])
    return lines


def _block_of(text: _Source, node: ast.stmt) -> list[ast.stmt]:
    """The statements among which `node` stands."""
    blocks: list[list[ast.stmt]] = [
        field for _, field in ast.iter_fields(text.parents[node]) if isinstance(field, list)
    ]
    return next(block for block in blocks if node in block)


def _unreachable_after(text: _Source, node: ast.If, value: bool) -> range | None:
    """Lines from which control is kept away by the fold: what follows when every way through `node` now leaves."""

    def leaves(block: list[ast.stmt]) -> bool:
        last = block[-1] if block else None
        if isinstance(last, ast.If):
            if last is node:
                return leaves(last.body if value else last.orelse)
            return leaves(last.body) and leaves(last.orelse)
        return isinstance(last, ast.Return | ast.Raise | ast.Continue | ast.Break)

    inner: ast.stmt = node
    while True:
        block = _block_of(text, inner)
        rest = block[block.index(inner) + 1 :]
        if rest:
            if not leaves([inner]):
                return None
            outer = text.parents[inner]
            end = text.last_line(rest[-1], outer) if isinstance(outer, ast.stmt) else rest[-1].end_lineno
            return range(text.last_line(inner, inner) + 1, (end or 0) + 1)
        outer = text.parents[inner]
        if not isinstance(outer, ast.If):
            return None
        inner = outer


def _unified_diff(name: str, old: str, new: str) -> str:
    """A unified diff of two different texts, with the enclosing function behind each `@@`, as git writes it."""
    a, b, tree = _lines(old), _lines(new), ast.parse(old)
    # difflib's own unified_diff() lets lines that occur often (a `return`) pass for junk in files of this size.
    groups = SequenceMatcher(None, a, b, autojunk=False).get_grouped_opcodes(CONTEXT_LINES)
    hunks = "".join(_hunk(group, a, b, tree) for group in groups)
    return f"--- a/{name}\n+++ b/{name}\n{hunks}"


def _hunk(group: list[tuple[str, int, int, int, int]], a: list[str], b: list[str], tree: ast.Module) -> str:
    tag, changed, *_ = next(code for code in group if code[0] != "equal")
    header = _enclosing_function(a, tree, changed if tag == "insert" else changed + 1)
    (_, i1, _, j1, _), (_, _, i2, _, j2) = group[0], group[-1]
    out = [f"@@ -{_range(i1, i2)} +{_range(j1, j2)} @@{header}\n"]
    for tag, start, end, new_start, new_end in group:
        if tag == "equal":
            out += [_marked(" ", line) for line in a[start:end]]
        else:
            out += [_marked("-", line) for line in a[start:end]]
            out += [_marked("+", line) for line in b[new_start:new_end]]
    return "".join(out)


def _marked(mark: str, line: str) -> str:
    return f"{mark}{line}" if line.endswith("\n") else f"{mark}{line}\n\\ No newline at end of file\n"


def _range(start: int, end: int) -> str:
    """Lines [start, end), counted from 0, as a diff writes them; an empty range names the line before it."""
    length = end - start
    return str(start + 1) if length == 1 else f"{start + 1 if length else start},{length}"


def _enclosing_function(lines: list[str], tree: ast.Module, line: int) -> str:
    header = ""
    for node in ast.walk(tree):  # outer nodes first
        if isinstance(node, _SCOPES):
            assert node.end_lineno is not None
            if node.lineno <= line <= node.end_lineno:
                header = f" {lines[node.lineno - 1].strip()}"
    return header
