# SPDX-License-Identifier: GPL-2.0-only
"""Patches named on the command line, or all that a command is for."""

from collections.abc import Callable, Container
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from reference_mmu.changelog.patches import PATCHES, not_modelled, unknown_patch
from workers.refusal import BadInput

_Command = TypeVar("_Command", bound=Callable[..., object])
_Result = TypeVar("_Result")


def patches_argument(command: _Command) -> _Command:
    """Adds [PATCH]... and --all to a command, which gets them as `names` and `every`; see `chosen`."""
    command = click.option("--all", "every", is_flag=True, help="All patches that this command is for.")(command)
    return click.argument("names", nargs=-1, metavar="[PATCH]...")(command)


def chosen(names: tuple[str, ...], every: bool, kinds: Container[str], advice: str) -> list[str]:
    """The patches to work on, each once; with --all those that the model has, in catalogue order. `advice` says what to
    do with a patch whose kind is not one of `kinds`. Raises BadInput, also for a patch that is not modelled."""
    if every == bool(names):
        raise BadInput("name patches or give --all, one of the two; 'mmufuzz patches' lists them")
    if every:
        return [patch.id for patch in PATCHES.values() if patch.kind in kinds and patch.modelled]
    for name in names:
        if name not in PATCHES:
            raise BadInput(str(unknown_patch(name)))
        if not PATCHES[name].modelled:
            raise BadInput(not_modelled(name))
        if PATCHES[name].kind not in kinds:
            raise BadInput(f"'{name}' is a patch of kind {PATCHES[name].kind}: {advice} {name}'")
    return list(dict.fromkeys(names))


def print_results(console: Console, table: Table, every: bool, kinds: Container[str]) -> None:
    """The table of all results, and how many patches --all leaves out, if there are any."""
    console.print(table)
    number = sum(patch.kind in kinds and not patch.modelled for patch in PATCHES.values())
    if every and number:
        console.print(f"left out: {number} patches that are not modelled yet")


def worked_through(
    patches: list[str], console: Console, work: Callable[[str], _Result], tell: Callable[[Console, _Result], None]
) -> tuple[list[_Result], bool]:
    """Work on one patch after the other and tell each result; returns the results, and whether Ctrl-C ended it before
    the last."""
    results: list[_Result] = []
    try:
        for patch in patches:
            with console.status(f"{patch} ({len(results) + 1} of {len(patches)})"):
                results.append(work(patch))
            tell(console, results[-1])
    except KeyboardInterrupt:
        return results, True
    return results, False
