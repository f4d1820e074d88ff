# SPDX-License-Identifier: GPL-2.0-only
"""Do two checkouts show the same, program by program? And does one, compiled and interpreted?

    .venv/bin/python -m benchmarks.digests . ../before
    .venv/bin/python -m benchmarks.digests .                  compiled against interpreted

Compared are turns, events, violations, facts and effects of the same seeds of every profile. Ends with 1 if any differ.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import click

from cli.bench.process import ArmProcess
from cli.bench.runner import PARTS
from fuzzer.program.profile import PROFILES

_AT_A_TIME: Final = 100  # programs, so that both are seen to move
_SEEDS_TOLD: Final = 5


class Difference(NamedTuple):
    """One program whose digests differ, and in what."""

    profile: str
    seed: int
    parts: tuple[str, ...]


@click.command()
@click.argument("here", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("there", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--programs", type=click.IntRange(1), default=2000, show_default=True, help="Of each profile.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first.")
@click.option("--profile", "profiles", type=click.Choice(list(PROFILES)), multiple=True, help="Only this one.")
def main(here: Path, there: Path | None, programs: int, seed: int, profiles: tuple[str, ...]) -> None:
    """Compare HERE with THERE, or HERE compiled with HERE interpreted."""
    variables = {} if there else {"MMUFUZZ_CORE": "interpreted"}
    found: list[Difference] = []
    with ArmProcess(here) as one, ArmProcess(there or here, variables) as other:
        print(f"{one.directory.name}: {one.core}\n{other.directory.name}: {other.core}")
        for profile in profiles or PROFILES:
            fresh = list(differences(one, other, profile, seed, programs))
            found.extend(fresh)
            print(line(profile, programs, fresh), flush=True)
    raise SystemExit(bool(found))


def differences(one: ArmProcess, other: ArmProcess, profile: str, seed: int, programs: int) -> Iterator[Difference]:
    """Every program of a profile that the two do not show alike."""
    for first in range(seed, seed + programs, _AT_A_TIME):
        count = min(_AT_A_TIME, seed + programs - first)
        asked = {"profile": profile, "first": first, "programs": count}
        both = (process.ask("digests", **asked)["digests"] for process in (one, other))
        for place, (ours, theirs) in enumerate(zip(*both, strict=True)):
            parts = tuple(part for part, a, b in zip(PARTS, ours, theirs, strict=True) if a != b)
            if parts:
                yield Difference(profile, first + place, parts)


def line(profile: str, programs: int, found: list[Difference]) -> str:
    """E.g. "mixed: 2 of 2000 programs differ (events 2, effects 1), seeds 5278, 5811"."""
    if not found:
        return f"{profile}: {programs} programs, all alike"
    counts = Counter(part for one in found for part in one.parts)
    parts = ", ".join(f"{part} {count}" for part, count in counts.items())
    seeds = ", ".join(str(one.seed) for one in found[:_SEEDS_TOLD])
    return f"{profile}: {len(found)} of {programs} programs differ ({parts}), seeds {seeds}"


if __name__ == "__main__":
    main()
