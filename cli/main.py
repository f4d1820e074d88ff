# SPDX-License-Identifier: GPL-2.0-only
"""The command line `mmufuzz`: every command is a module of cli/commands that defines a function of its own name.

A command's module is imported when it is asked for. That makes `main` the place to choose the compiled core: nothing
imported before it touches a core module.
"""

import signal
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import Any, Final, NoReturn

import click

from cli.one_line_errors import one_line_errors
from cli.secret_files import read_secret_files
from fuzzer.compiled import CoreError, use_compiled_core
from reference_mmu import __version__
from workers.refusal import BadInput

COMMANDS: Final = (
    *("run", "replay", "export", "minimize", "findings", "patches", "effects", "prove", "expose", "headline", "bench"),
    *("recheck", "prune", "campaign", "worker", "doctor", "migrate", "dashboard"),
)


class Commands(click.Group):
    """Finds the commands in cli/commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if name != "dashboard" or find_spec("fastapi") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        choose_core()
        module = f"cli.commands.{cmd_name}"
        try:
            command = getattr(import_module(module), cmd_name)
        except ModuleNotFoundError as error:
            if cmd_name != "dashboard":
                raise
            raise BadInput(f"{error}; {cmd_name} needs what pip installs with 'mmufuzz[service]'") from error
        assert isinstance(command, click.Command), f"{module} defines no command {cmd_name}"
        return command

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with one_line_errors():
            # Before any option looks at the environment.
            read_secret_files()
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


def choose_core() -> str:
    """Put the compiled core in place and say in one line what runs. Raises BadInput."""
    try:
        return use_compiled_core().reason
    except CoreError as error:
        raise BadInput(f"{error}; unset MMUFUZZ_CORE to run with what there is") from error


def show_version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    """Print the versions and end, if --version was given."""
    if asked and not ctx.resilient_parsing:
        reason = choose_core()
        model = import_module("reference_mmu.version").model_version()
        click.echo(f"mmufuzz {__version__}, model {model}, {reason}")
        ctx.exit()


@click.group(
    "mmufuzz", cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_version,
    help="Show the versions of mmufuzz and of its model, and whether the core is compiled.",
)
def cli() -> None:
    """Which KVM MMU commits change behaviour, and does each commit's own message allow it?

    Random programs run under the same interleaving on a model with OLD semantics and on one with NEW semantics.
    Every difference is attributed to the commits (patches) that cause it, judged, shrunk and kept for replay.

    \b
    Start here:
      mmufuzz run                     a minute; fills ./findings and ./mmufuzz.db
      mmufuzz replay findings/FILE    tell one finding step by step
      mmufuzz findings                list what was found
      mmufuzz patches show PATCH      what one commit changes, in the model
      mmufuzz run --apply FILE.patch  try your own change of the model

    \b
    Semantics (--old, --new): old, no-struct-page, new, then any +PATCH, -PATCH
      mmufuzz run --old no-struct-page --new no-struct-page+age-elides-tlb-flush

    Exit codes: 0 fine, 1 a regression or an unexplained finding, or not reproduced,
    2 bad input, 130 stopped by Ctrl-C with everything found so far kept.
    """


def main() -> None:
    """Entry point of the console script."""
    # For the first process of a container the kernel drops a signal that nobody handles: told to stop while it starts,
    # it would go on until it is killed.
    signal.signal(signal.SIGTERM, terminate)
    cli(prog_name="mmufuzz")


def terminate(number: int, _frame: FrameType | None) -> NoReturn:
    """End as a shell would report it."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
