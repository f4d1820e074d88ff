# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz patches`: the catalogue, and what each patch changes in the model."""

import textwrap
from collections import Counter

import click
from rich.console import Console
from rich.style import Style
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from cli.document import Document, json_option
from fuzzer.change.fold import FoldError, patch_diff
from fuzzer.change.listed_patch import ListedPatch, details, listed
from reference_mmu.changelog.patches import PATCHES, unknown_patch
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

_LABEL_WIDTH = 12
_TEXT_WIDTH = 120


class PatchesReport(Record):
    """The JSON of `patches`."""

    patches: tuple[ListedPatch, ...]


class PatchReport(Record):
    """The JSON of `patches show`."""

    patch: ListedPatch
    diff: str


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def patches(ctx: click.Context, document: Document) -> None:
    """List the KVM commits of the changelog, and what search and proof have shown of each.

    \b
    Examples:
      mmufuzz patches
      mmufuzz patches show age-elides-tlb-flush
    """
    if ctx.invoked_subcommand is not None:
        document.belongs_after(ctx.invoked_subcommand)
        return
    rows = [listed(patch) for patch in PATCHES.values()]
    console = document.console()
    in_changelog = [row for row in rows if row.patch.listed]
    console.print(make_table(in_changelog))
    console.print(summary(in_changelog))
    console.print("\nalso switchable, no rows of the changelog:")
    console.print(make_table([row for row in rows if not row.patch.listed]))
    console.print()
    console.print("what one changes:  mmufuzz patches show PATCH")
    document.write(PatchesReport(tuple(rows)))


@patches.command()
@click.argument("patch_id", metavar="PATCH")
@json_option
def show(patch_id: str, document: Document) -> None:
    """Show what a commit changes: in words, in effects it may and may not have, and as a diff of the model.

    The diff is made from the model's own source, by taking the patch's flag out once as off and once as on.
    """
    if patch_id not in PATCHES:
        raise BadInput(str(unknown_patch(patch_id)))
    patch = PATCHES[patch_id]
    with refuse(FoldError, advice="the rest of the catalogue is shown by 'mmufuzz patches'"):
        diff = patch_diff(patch_id)
    row = listed(patch)
    console = document.console()
    for label, text in details(row):
        console.print(labelled(label, text))
    console.print()
    print_diff(console, diff)
    document.write(PatchReport(row, diff))


def make_table(rows: list[ListedPatch]) -> Table:
    """One line a patch; a terminal that knows links leads from the commit to its page."""
    table = Table(box=None, pad_edge=False)
    for name in ("patch", "series", "arch", "kind", "state", "checked with", "again", "commit"):
        table.add_column(name, overflow="fold")
    for row in rows:
        patch = row.patch
        table.add_row(
            patch.id,
            row.series,
            patch.flavour or patch.arch,
            patch.kind,
            row.told,
            row.checked.model if row.checked else "-",
            row.reproducer or "-",
            Text(patch.upstream[:12], Style(link=row.link)),
        )
    return table


def summary(rows: list[ListedPatch]) -> str:
    """How many rows there are, how many of them the model has, and how these stand."""
    states = Counter(row.state for row in rows if row.patch.modelled)
    modelled = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return f"{len(rows)} in the catalogue, {states.total()} modelled: {modelled}"


def labelled(label: str, text: str) -> str:
    """The text behind its label, wrapped."""
    indent = " " * (_LABEL_WIDTH + 2)
    return textwrap.fill(
        text, _TEXT_WIDTH, initial_indent=f"{label:<{_LABEL_WIDTH}}  ", subsequent_indent=indent, break_on_hyphens=False
    )


def print_diff(console: Console, diff: str) -> None:
    if not diff:
        console.print("the model reads its flag nowhere, so there is no diff")
    elif console.is_terminal:
        console.print(Syntax(diff, "diff", background_color="default"))
    else:
        console.print(diff, end="")
