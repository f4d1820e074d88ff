# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz dashboard`: serve the pages, and give out tokens."""

import os
import stat
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from sqlalchemy import Engine

from dashboard.settings import LOOPBACK, TOKEN_CHARS_MIN, Settings
from db.schema import Level
from db.session import StoreError, open_database
from db.tokens import Tokens
from workers.refusal import BadInput, refuse


@click.group(invoke_without_command=True)
@click.option("--db", "database", metavar="URL", help="Findings database [default: MMUFUZZ_DATABASE, or ./mmufuzz.db].")
@click.option("--host", help="Address to listen on [default: 127.0.0.1].")
@click.option("--port", type=click.IntRange(0, 65535), help="[default: 8300]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with the administrator's token.")
@click.option("--without-tokens", is_flag=True, default=None, help="Let everybody on this host read and operate.")
@click.pass_context
def dashboard(ctx: click.Context, /, **options: Any) -> None:
    """Show findings, campaigns and the changelog in a browser.

    Every option can be given in the environment, as MMUFUZZ_DATABASE, MMUFUZZ_TOKEN_FILE and so on. The token file
    holds one line of at least 32 characters that nobody else may read; who has it is administrator and can give out
    further tokens.

    \b
    Examples:
      (umask 077; openssl rand -hex 32 > admin.token)
      mmufuzz dashboard --token-file admin.token
      mmufuzz dashboard --without-tokens
      mmufuzz dashboard token ci --level operate
    """
    settings = read_settings(options)
    ctx.obj = settings
    if ctx.invoked_subcommand is None:
        serve(settings)


@dashboard.command()
@click.argument("name")
@click.option("--level", type=click.Choice([str(level) for level in Level]), default="read", show_default=True)
@click.pass_context
def token(ctx: click.Context, name: str, level: str) -> None:
    """Make a token and print it; only its digest is kept."""
    with refuse(StoreError, advice="nothing was changed"):
        click.echo(Tokens(engine_of(ctx.obj)).create(name, Level(level)))


def read_settings(options: dict[str, Any]) -> Settings:
    """The options over the environment. Raises BadInput."""
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        name = "_".join(["MMUFUZZ", *(str(part).upper() for part in problem["loc"])])
        raise BadInput(f"{name}: {problem['msg']}; mend the environment or give the option") from error


def engine_of(settings: Settings) -> Engine:
    """The open database. Raises BadInput."""
    with refuse(StoreError, advice="name another database with --db"):
        return open_database(settings.database.get_secret_value())


def serve(settings: Settings) -> None:
    """Run until interrupted. Raises BadInput."""
    # Here, because `mmufuzz --help` imports this module, too.
    from dashboard.app import create_app
    from dashboard.server import run

    secret = secret_of(settings)
    app = create_app(settings, engine_of(settings), secret)
    if secret is None:
        click.echo("WITHOUT TOKENS: whoever reaches this address reads everything, steers and uploads.", err=True)
    run(app, settings.host, settings.port)


def secret_of(settings: Settings) -> str | None:
    """The administrator's token; None if the dashboard is to run without any. Raises BadInput."""
    if settings.without_tokens:
        if settings.token_file is not None:
            raise BadInput("a token file and --without-tokens exclude each other; leave one out")
        if settings.host not in LOOPBACK:
            raise BadInput(f"--without-tokens is for 127.0.0.1 alone, not {settings.host}; give a --token-file")
        return None
    if settings.token_file is None:
        raise BadInput(
            "the dashboard is closed by default: give a --token-file, or --without-tokens to let everybody in"
        )
    return read_token(settings.token_file)


def read_token(path: Path) -> str:
    """The token in a file that only its owner may read. Raises BadInput."""
    with refuse(OSError, UnicodeDecodeError, what=f"cannot read {path}", advice="name another --token-file"):
        mode = os.stat(path).st_mode
        secret = path.read_text(encoding="utf-8").strip()
    if mode & stat.S_IWOTH:
        raise BadInput(f"everybody may write {path}; chmod 600 it and make a new token")
    if mode & stat.S_IROTH:
        # Secrets of a container are mounted like that, where nobody else is in.
        click.echo(f"WARNING: everybody on this host may read {path}", err=True)
    if len(secret) < TOKEN_CHARS_MIN or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise BadInput(f"{path}: a token is one line of at least {TOKEN_CHARS_MIN} characters; 'openssl rand -hex 32'")
    return secret
