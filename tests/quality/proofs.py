# SPDX-License-Identifier: GPL-2.0-only
"""docs/proofs.md: what each proof of an equivalence goes over, and whether it notices mutants of its patch.

mmufuzz prove --all --json proofs.json
mmufuzz prove --mutate --all --jobs 2 --json mutants.json
python -m tests.quality.proofs proofs.json mutants.json --report docs/proofs.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from cli.commands.prove import MutateReport, ProvedPatch, ProveReport, Survivor, TriedPatch
from cli.progress import spaced
from fuzzer.prove.mutants import Mutant, reason_of

HEAD = """# Proofs of equivalences

A commit that is meant to change nothing is a switch of the model like any other, and `mmufuzz prove` compares the two
sides: on every combination of the inputs of the functions that the commit touches, with the state of the machine that
its message speaks of, and by random programs in lockstep, on the oldest base that the commit can stand on and on the
newest. How many cases there are is counted over both bases. Four commits are equivalent only in pairs
([decisions/0021](decisions/0021-halves-of-an-equivalence.md)).

`mmufuzz prove --mutate` asks whether a proof would see a patch that is wrong: the code that runs only with the patch is
broken in every place by machine, one at a time, and the proof has to find a difference. Of a commit that only takes
something away, the functions are broken that it is taken from.

`python -m tests.quality.proofs` makes this page."""


def report(proofs: Iterable[ProvedPatch], mutants: dict[str, TriedPatch]) -> str:
    lines = [HEAD, "", "| commit | exhaustive over | inputs | programs | mutants | noticed | explained | not noticed |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
    for proof in proofs:
        name = f"{proof.patch} (with {proof.together[0]})" if proof.together else proof.patch
        counts = [proof.cases - proof.programs, proof.programs, *counts_of(mutants.get(proof.patch))]
        told = " | ".join("not tried" if count is None else spaced(count) for count in counts)
        lines.append(f"| {name} | {'<br>'.join(proof.exhaustive)} | {told} |")
    lines += ["", "## Mutants that are not noticed, and why", "", *survivors(mutants.values())]
    return "\n".join(lines) + "\n"


def counts_of(tried: TriedPatch | None) -> tuple[int | None, ...]:
    """Mutants, and how many were noticed, explained and neither."""
    if tried is None:
        return (None,) * 4
    explained = sum(reason(tried.patch, survivor) != "" for survivor in tried.survivors)
    lived = len(tried.survivors)
    return tried.mutants, tried.mutants - lived, explained, lived - explained


def reason(patch: str, survivor: Survivor) -> str:
    return reason_of(Mutant(patch, survivor.id, 0, survivor.about))


def survivors(tried: Iterable[TriedPatch]) -> Iterator[str]:
    """Those without a reason, then the others by reason."""
    by_reason: dict[str, list[str]] = {}
    for row in tried:
        for survivor in row.survivors:
            place = f"`{survivor.place}`: {survivor.about} ({row.patch})"
            by_reason.setdefault(reason(row.patch, survivor), []).append(place)
    for why, places in sorted(by_reason.items(), key=lambda item: item[0] != ""):
        yield f"- {why or '**No reason is known:**'}"
        yield from (f"  - {place}" for place in places)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.proofs", description="Write docs/proofs.md.")
    parser.add_argument("proofs", type=Path, help="the JSON of 'mmufuzz prove --all'")
    parser.add_argument("mutants", type=Path, nargs="+", help="the JSON of 'mmufuzz prove --mutate --all'")
    parser.add_argument("--report", type=Path, required=True, help="the page")
    options = parser.parse_args(arguments)
    proofs = msgspec.json.decode(options.proofs.read_bytes(), type=ProveReport)
    mutants = [msgspec.json.decode(file.read_bytes(), type=MutateReport) for file in options.mutants]
    text = report(proofs.results, {row.patch: row for each in mutants for row in each.results})
    options.report.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
