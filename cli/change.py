# SPDX-License-Identifier: GPL-2.0-only
"""`--apply FILE`: a user's own change to the model, as a unified diff."""

import sys
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Final, TypeVar

import click

from cli.interpreted import require_interpreted
from cli.watchdog import Hung, watchdog
from fuzzer.change.exercised import places_of
from fuzzer.change.variant import DIFF_BYTES_MAX, Mismatch, VariantError, changed_models, sides_of
from fuzzer.run.compare import Models
from fuzzer.run.model import SHIPPED
from reference_mmu.record import Record
from workers.refusal import BadInput, refuse

_Command = TypeVar("_Command", bound=Callable[..., object])

_STANDARD_INPUT: Final = "-"
_PLACES_TOLD: Final = 6
_ADVICE: Final = "make it at the top of the checkout with 'git diff -- reference_mmu'"


class Exercise(Record):
    """The statements of a change, as FILE:LINE of the changed sources, by whether any program came by them."""

    exercised: tuple[str, ...] = ()
    not_exercised: tuple[str, ...] = ()

    def in_vain(self) -> bool:
        """Was the change never tried at all?"""
        return bool(self.not_exercised) and not self.exercised

    def line(self) -> str:
        """In words; "" where there is no statement that anybody could have run."""
        missed = ", ".join(self.not_exercised[:_PLACES_TOLD])
        if len(self.not_exercised) > _PLACES_TOLD:
            missed += f" and {len(self.not_exercised) - _PLACES_TOLD} more"
        if self.in_vain():
            return f"not exercised: no program came by the change, at {missed}; try another --profile"
        if missed:
            return f"not exercised: part of the change that no program came by, at {missed}"
        return "all statements of the change were run" if self.exercised else ""


class OwnChange(Record):
    """A diff that applies and loads, and what the user calls it; `base` are those that it applies to, one after the
    other in one text, and that both models have."""

    name: str
    diff: str
    base: str = ""
    base_name: str = ""

    def models(self) -> Models:
        return changed_models(self.diff, self.base)

    def files(self) -> tuple[str, ...]:
        """The paths below reference_mmu that it changes."""
        return tuple(sorted(sides_of(self.diff, self.base).new))

    def exercise(self, ran: Set[int]) -> Exercise:
        """What of it was run, by the numbers of its statements."""
        sides = sides_of(self.diff, self.base)
        places = [str(place) for place in places_of(sides.old, sides.new)]
        return Exercise(
            exercised=tuple(place for number, place in enumerate(places) if number in ran),
            not_exercised=tuple(place for number, place in enumerate(places) if number not in ran),
        )

    def line(self) -> str:
        """What is compared, in words."""
        if self.base:
            where = f"on top of {self.base_name}, which both models have"
        elif self.models().old is not SHIPPED:
            where = "which the sources have already: OLD is without it"
        else:
            where = "NEW is the model with it"
        return f"own change {self.name} ({self.digest()}), {where}"

    def digest(self) -> str:
        """12 hex digits to tell changes apart."""
        return self.models().digest


def change_options(command: _Command) -> _Command:
    """Adds --apply and --base to a command, which gets paths as `change` (or None) and `bases`: see read_change()."""
    command = click.option(
        "--base",
        "bases",
        metavar="DIFF",
        multiple=True,
        help="Both models have this diff, and that of --apply goes on top: the patches before it in its series, or a "
        "feature that the model lacks. Repeat it for more, in order.",
    )(command)
    return click.option(
        "--apply",
        "change",
        metavar="DIFF",
        help="Give NEW's model this change, a unified diff of reference_mmu; '-' for standard input.",
    )(command)


def own_change(path: str | None, bases: Sequence[str], allowed: Sequence[str]) -> OwnChange | None:
    """What the options say, see change_options() and allow_option(); None if they name no change. Raises BadInput."""
    if path is not None:
        return read_change(path, bases)
    if allowed:
        raise BadInput("--allow says what a change of --apply may do; a commit's effects are in 'mmufuzz patches show'")
    if bases:
        raise BadInput("--base is what a change of --apply goes on top of; give that, too")
    return None


def read_change(path: str, bases: Sequence[str] = ()) -> OwnChange:
    """Read a diff, and those below it, and load the changed model once to see that it can be. Raises BadInput."""
    require_interpreted()
    base = "".join(_read_filled("--base", one).rstrip("\n") + "\n" for one in bases)
    diff = _read_filled("--apply", path)
    try:
        with watchdog():
            changed_models(diff, base)
    except Hung as hung:
        raise BadInput(f"--apply {path}: the changed model hangs when it is imported, {hung}") from hung
    except Mismatch as error:
        raise BadInput(f"--apply {path}: {error}; {_ADVICE}") from error
    except VariantError as error:
        raise BadInput(f"--apply {path}: {error}; mend the change and try again") from error
    return OwnChange(_name_of(path), diff, base, ", ".join(map(_name_of, bases)))


def _name_of(path: str) -> str:
    return "of standard input" if path == _STANDARD_INPUT else Path(path).name


def _read_filled(option: str, path: str) -> str:
    """The text of a file or of standard input, which is not empty. Raises BadInput."""
    with refuse(OSError, UnicodeDecodeError, what=f"{option} {path} cannot be read", advice=_ADVICE):
        if path == _STANDARD_INPUT:
            data = sys.stdin.buffer.read(DIFF_BYTES_MAX + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(DIFF_BYTES_MAX + 1)
        if len(data) > DIFF_BYTES_MAX:
            raise BadInput(f"{option} {path}: the diff has more than {DIFF_BYTES_MAX >> 10} KiB; {_ADVICE}")
        text = data.decode()
    if not text.strip():
        raise BadInput(f"{option} {path}: the diff is empty; {_ADVICE}")
    return text
