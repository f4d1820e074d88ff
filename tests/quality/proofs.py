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

from cli.commands.prove import MutateReport, ProvedPatch, ProveReport, TriedPatch

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
        tried = mutants[proof.patch]
        noticed = tried.mutants - len(tried.survivors)
        counts = (
            *(proof.cases - proof.programs, proof.programs, tried.mutants, noticed),
            *(len(tried.survivors) - tried.unexplained, tried.unexplained),
        )
        name = f"{proof.patch} (with {proof.together[0]})" if proof.together else proof.patch
        told = "".join(f" {count:,} |".replace(",", " ") for count in counts)
        lines.append(f"| {name} | {'<br>'.join(proof.exhaustive)} |{told}")
    lines += ["", "## Mutants that nobody can notice, and why", "", *survivors(mutants.values())]
    return "\n".join(lines) + "\n"


def survivors(tried: Iterable[TriedPatch]) -> Iterator[str]:
    """Those with a reason, by reason; then those without."""
    by_reason: dict[str, list[str]] = {}
    for row in tried:
        for survivor in row.survivors:
            by_reason.setdefault(survivor.reason, []).append(f"{survivor.place}: {survivor.about} ({row.patch})")
    for reason, places in sorted(by_reason.items(), key=lambda item: not item[0]):
        yield f"- {reason or '**not noticed, and no reason is known**'}"
        yield from (f"  - {place}" for place in places)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.proofs", description="Write docs/proofs.md.")
    parser.add_argument("proofs", type=Path, help="the JSON of 'mmufuzz prove --all'")
    parser.add_argument("mutants", type=Path, help="the JSON of 'mmufuzz prove --mutate --all'")
    parser.add_argument("--report", type=Path, required=True, help="the page")
    options = parser.parse_args(arguments)
    proofs = msgspec.json.decode(options.proofs.read_bytes(), type=ProveReport)
    mutants = msgspec.json.decode(options.mutants.read_bytes(), type=MutateReport)
    text = report(proofs.results, {row.patch: row for row in mutants.results})
    options.report.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
