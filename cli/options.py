# SPDX-License-Identifier: GPL-2.0-only
"""Options that several commands have."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from db.session import DEFAULT_URL
from fuzzer.program.blend import UnknownProfile, profile_named
from fuzzer.program.profile import PROFILES
from fuzzer.program.rng import SEED_MAX
from fuzzer.reach import Reach, reach_of
from fuzzer.schedule.schedulers import STRATEGIES, STRATEGY_WORDS
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.semantics import Semantics
from workers.refusal import BadInput

_Command = TypeVar("_Command", bound=Callable[..., object])

ALL: Final = "all"
"""What --arch says for every architecture."""


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


def number_option(
    name: str, metavar: str, kind: click.ParamType[Any], default: float, words: str
) -> Callable[[_Command], _Command]:
    """Adds an option that is a number, and tells its default."""
    return click.option(name, metavar=metavar, type=kind, default=default, show_default=True, help=words)


def profile_option(command: _Command) -> _Command:
    """Adds --profile and --arch to a command, which gets them as `profile` and `arch`, None where they are not given:
    see searched_profile()."""
    words = (
        f"What the programs are about: {', '.join(sorted(PROFILES))}; or several with shares, say mixed*3,arm64 "
        "[default: all that reach what is compared]."
    )
    of_arch = f"Architecture of the machines: {', '.join(ARCHITECTURES)}, or all [default: those of what is compared]."
    arch_option = click.option("--arch", type=click.Choice((*ARCHITECTURES, ALL)), metavar="NAME", help=of_arch)
    return click.option("--profile", type=ProfileType(), metavar="NAME", help=words)(arch_option(command))


class ProfileType(click.ParamType[str]):
    """The name of a profile, or several with shares."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return profile_named(str(value)).name
        except UnknownProfile as error:
            self.fail(str(error), param, ctx)


def searched_profile(
    profile: str | None, arch: str | None, old: Semantics, new: Semantics, files: Iterable[str] = ()
) -> Reach:
    """What to search: what the user says, else what reaches the patches that differ and the files that a change
    touches. Raises BadInput if profile and architecture do not fit."""
    if profile is None:
        chosen = () if arch is None else tuple(ARCHITECTURES) if arch == ALL else (arch,)
        return reach_of(old, new, files, chosen)
    for name in dict(profile_named(profile).shares) or (profile,):
        if arch not in (None, ALL, *PROFILES[name].arch):
            suitable = ", ".join(name for name in PROFILES if arch in PROFILES[name].arch)
            raise BadInput(f"the profile {name} has no machine of {arch}; --profile is one of {suitable}")
    return Reach(profile, "--profile")


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
