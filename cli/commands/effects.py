# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz effects`: the words for what two models may be seen to do differently."""

import click
from rich.table import Table

from cli.document import Document, json_option
from reference_mmu.changelog.effects import EFFECTS, GROUPS
from reference_mmu.record import Record


class ListedEffect(Record):
    """An effect: its name, what it means, and the groups that it is in."""

    effect: str
    meaning: str
    groups: tuple[str, ...]


class EffectsReport(Record):
    """The JSON of `effects`: the groups by what they stand for, and the effects."""

    groups: dict[str, str]
    effects: tuple[ListedEffect, ...]


@click.command()
@click.option("--group", "only", type=click.Choice(list(GROUPS)), help="Those of this group only.")
@json_option
def effects(only: str | None, document: Document) -> None:
    """List the effects that a search tells, and that `run --apply DIFF --allow EFFECT` takes.

    Names are read old -> new. A group stands for all of its effects: `--allow cost` for an optimisation, for example. A
    broken invariant is no effect and cannot be allowed.

    \b
    Examples:
      mmufuzz effects
      mmufuzz effects --group cost
    """
    rows = [
        ListedEffect(effect, meaning, tuple(name for name, group in GROUPS.items() if effect in group.effects))
        for effect, meaning in EFFECTS.items()
        if only is None or effect in GROUPS[only].effects
    ]
    table = Table("effect", "groups", "meaning", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row.effect, ", ".join(name for name in row.groups if name != "all"), row.meaning)
    console = document.console()
    console.print(table)
    console.print("\ngroups, for --allow:")
    for name, group in GROUPS.items():
        console.print(f"  {name}: {group.about}")
    document.write(EffectsReport({name: group.about for name, group in GROUPS.items()}, tuple(rows)))
