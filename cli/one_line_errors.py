# SPDX-License-Identifier: GPL-2.0-only
"""How a command of the command line ends that was refused, interrupted, or ran a model that hangs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from cli.watchdog import Hung
from workers.refusal import BadInput

INTERRUPTED: Final = 130


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Show click's own errors as BadInput, too; end with 130 on Ctrl-C, and with 1 if a changed model hangs."""
    try:
        yield
    except (BadInput, click.exceptions.NoArgsIsHelpError):
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "mmufuzz"
        raise BadInput(f"{error.format_message().rstrip('.')}; see '{command} --help'") from error
    except click.ClickException as error:
        raise BadInput(error.format_message()) from error
    except Hung as hung:
        click.echo(f"mmufuzz: the model hangs, {hung}", err=True)
        raise click.exceptions.Exit(1) from hung
    except (KeyboardInterrupt, click.Abort) as error:
        raise click.exceptions.Exit(INTERRUPTED) from error
