# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from db.session import DEFAULT_URL
from fuzzer.program.profile import PROFILES
from fuzzer.program.rng import SEED_MAX
from fuzzer.schedule.schedulers import STRATEGIES, STRATEGY_WORDS
from reference_mmu.architectures import ARCHITECTURES
from workers.refusal import BadInput

_Command = TypeVar("_Command", bound=Callable[..., object])


class Filled(click.types.StringParamType):
    """Text that is not empty: an empty one is mostly a variable of the shell that nobody has set."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.fail("is empty", param, ctx) if value == "" else super().convert(value, param, ctx)


class FilledPath(click.Path):
    """A path that is not empty; see Filled."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return self.fail("is empty", param, ctx) if value == "" else super().convert(value, param, ctx)


def seed_option(default: int | None) -> Callable[[_Command], _Command]:
    """Adds --seed to a command, which gets it as `seed`; with a default of None that is None for a random one."""
    words = "Seed of the first program (default: a random one)." if default is None else "Seed of the first program."
    kind = click.IntRange(0, SEED_MAX)
    return click.option("--seed", metavar="S", type=kind, default=default, show_default=default is not None, help=words)


def profile_option(command: Callable[..., object]) -> Callable[..., object]:
    """Adds --profile and --arch to a command, which gets the name of the profile as `profile`."""

    @functools.wraps(command)
    def with_profile(*args: Any, profile: str | None, arch: str | None, **others: Any) -> object:
        return command(*args, profile=chosen_profile(profile, arch), **others)

    of_arch = f"Architecture of the machines: {', '.join(ARCHITECTURES)} [default: that of the profile]."
    words = f"What the programs are about: {', '.join(sorted(PROFILES))} [default: {next(iter(PROFILES))}]."
    arch_option = click.option("--arch", type=click.Choice(tuple(ARCHITECTURES)), metavar="NAME", help=of_arch)
    return click.option("--profile", type=click.Choice(sorted(PROFILES)), metavar="NAME", help=words)(
        arch_option(with_profile)
    )


def chosen_profile(profile: str | None, arch: str | None) -> str:
    """The profile of that name; without one, the first of the architecture. Raises BadInput if it is another one's."""
    suitable = [name for name in PROFILES if arch is None or arch in PROFILES[name].arch]
    if profile is None:
        return suitable[0]
    if profile not in suitable:
        raise BadInput(f"the profile {profile} has no machine of {arch}; --profile is one of {', '.join(suitable)}")
    return profile


def strategy_option(command: _Command) -> _Command:
    """Adds --strategy to a command, which gets a tuple as `strategies`, None if it is not given."""
    each = ", ".join(f"{strategy} ({about})" for strategy, about in STRATEGY_WORDS.items())
    words = (
        f"Who chooses the interleavings: {each}. May be repeated: each gets the same share of the programs "
        "(default: all)."
    )
    kind = click.Choice(STRATEGIES)
    return click.option("--strategy", "strategies", type=kind, multiple=True, callback=_each_once, help=words)(command)


def _each_once(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(given)) or None


def run_change_option(command: _Command) -> _Command:
    """Adds --run-change to a command that reads a reproducer, which gets it as `run_change`."""
    words = "Run the change of the model that the file brings along: Python from whoever wrote the file."
    return click.option("--run-change", is_flag=True, help=words)(command)


def findings_database_option(command: _Command) -> _Command:
    """Adds --db to a command, which gets the URL as `database`, None if it is not given."""
    return click.option(
        "--db",
        "database",
        type=Filled(),
        metavar="URL",
        envvar="MMUFUZZ_DATABASE",
        show_envvar=True,
        help=f"Findings database [default: {DEFAULT_URL}].",
    )(command)


def processes_option(name: str, most: int) -> Callable[[_Command], _Command]:
    """Adds the option of that name, a number of search processes."""
    return click.option(
        name,
        metavar="N",
        type=click.IntRange(1, most),
        default=lambda: min(most, len(os.sched_getaffinity(0))),
        help="Search processes (default: one per core).",
    )


def campaign_option(command: _Command) -> _Command:
    """Adds --campaign to a command, which gets its number as `campaign`, None for any."""
    kind = click.IntRange(1, 2**63 - 1)
    return click.option("--campaign", type=kind, help="Of this campaign (run) only.")(command)


def out_option(each: str) -> Callable[[_Command], _Command]:
    """Adds --out to a command, which gets the directory as `folder` and writes one file per `each` to it."""
    return click.option(
        "--out",
        "folder",
        type=FilledPath(path_type=Path),
        default=Path("findings"),
        show_default=True,
        help=f"Directory for reproducers, one file per {each}.",
    )
