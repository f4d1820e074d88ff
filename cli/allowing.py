# SPDX-License-Identifier: GPL-2.0-only
"""`--allow EFFECT`: what the author of a change announces, and what a search says that she would have to."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import click

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Finding, Verdict
from reference_mmu.changelog.effects import EFFECTS, GROUPS

_Command = TypeVar("_Command", bound=Callable[..., object])

_MEANINGS_TOLD: Final = 6


def allow_option(command: _Command) -> _Command:
    """Adds --allow to a command that has --apply; it gets the effects, groups spelled out, as `allowed`."""
    groups = "; ".join(f"{name}, {group.about}" for name, group in GROUPS.items())
    return click.option(
        "--allow",
        "allowed",
        multiple=True,
        type=_EffectType(),
        callback=_flattened,
        help="The change may have this effect, say fewer-flushes, or those of a group; repeat it for more. Then that, "
        "and what follows from it, is documented; without it every effect of yours is unexplained. "
        f"'mmufuzz effects' lists them. Groups: {groups}.",
    )(command)


class _EffectType(click.ParamType[tuple[str, ...]]):
    name = "EFFECT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if value in GROUPS:
            return tuple(sorted(GROUPS[value].effects))
        if value in EFFECTS:
            return (str(value),)
        near = difflib.get_close_matches(str(value), [*EFFECTS, *GROUPS], n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return self.fail(f"{value!r} is no effect and no group of 'mmufuzz effects'{meant}", param, ctx)


def _flattened(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(sorted({effect for effects in value for effect in effects}))


def unannounced(findings: Iterable[Finding]) -> list[str]:
    """The effects of a change that nobody has announced."""
    found = (f for f in findings if f.verdict == Verdict.UNEXPLAINED and f.patches == (OWN_CHANGE,))
    return sorted({finding.what for finding in found})


def advice(effects: list[str]) -> Iterator[str]:
    """What the author would have to say for these to be documented, and what she would say with it."""
    if not effects:
        return
    smallest = min((len(group.effects), name) for name, group in GROUPS.items() if group.effects.issuperset(effects))[1]
    by_group = f", or --allow {smallest}" if len(effects) > 1 and smallest != "all" else ""
    yield "if your change is meant to do that, say so as its message would:"
    yield f"  {' '.join(f'--allow {effect}' for effect in effects)}{by_group}"
    for effect in effects[:_MEANINGS_TOLD]:
        yield f"  {effect}: {EFFECTS[effect]}"
    if len(effects) > _MEANINGS_TOLD:
        yield f"  and {len(effects) - _MEANINGS_TOLD} more: mmufuzz effects"


def merely_saves(findings: Iterable[Finding]) -> bool:
    """Does a change break nothing, and is all that it does unasked that less is done?"""
    found = list(findings)
    unasked = {finding.what for finding in found if finding.verdict == Verdict.UNEXPLAINED}
    saved = all(effect in GROUPS["cost"].effects and effect.startswith("fewer-") for effect in unasked)
    return bool(unasked) and saved and not any(finding.verdict == Verdict.REGRESSION for finding in found)


def assessment(findings: Iterable[Finding]) -> str:
    """A change in a sentence; "" where its findings need to be read one by one, or there are none."""
    findings = list(findings)
    whats: dict[Verdict, set[str]] = {}
    for finding in findings:
        whats.setdefault(finding.verdict, set()).add(finding.what)
    repaired = sorted(whats.get(Verdict.FIXED_SILENTLY, set()) | whats.get(Verdict.FIXED, set()))
    announced = sorted(whats.get(Verdict.DOCUMENTED, ()))
    if Verdict.REGRESSION in whats or not whats.keys() - {Verdict.BASELINE}:
        return ""
    if whats.get(Verdict.UNEXPLAINED):
        saves = merely_saves(findings)
        return "nothing breaks, and less is done: an optimisation, if that is what it is meant to be" if saves else ""
    also = f"; and it does what you announced: {', '.join(announced)}" if announced else ", and changes nothing else"
    if repaired:
        return f"a fix: OLD shows {', '.join(repaired)} and NEW does not{also}"
    return f"nothing breaks, and it does what you announced and no more: {', '.join(announced)}"
