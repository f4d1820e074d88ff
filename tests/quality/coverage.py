# SPDX-License-Identifier: GPL-2.0-only
"""How the rows of the changelog stand: asks `expose` and `prove`, and writes down what came out.

    python -m tests.quality.coverage --all        every row that the model has; takes minutes
    python -m tests.quality.coverage --missing    those of which nothing is written down
    python -m tests.quality.coverage ROW...
    python -m tests.quality.coverage              writes the page again, and asks nothing

What came out goes to fuzzer/checked.json, the programs that showed it to docs/exposed, and docs/changelog-coverage.md
is made from these. Searches are bounded by programs and not by seconds: the same model gives the same files.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

from fuzzer.change.listed_patch import ListedPatch, listed, whereabouts
from fuzzer.checked import FILE, Checked, checked_rows, decode_checked, encode_checked
from fuzzer.expose import Exposure, expose_steps
from fuzzer.prove.prove import prove
from reference_mmu.changelog.patches import (
    PATCHES,
    SERIES,
    Patch,
    can_be_cause,
    changes_nothing,
    unknown_patch,
)
from reference_mmu.version import model_version

ROOT: Final = Path(__file__).parent.parent.parent
PAGE: Final = ROOT / "docs" / "changelog-coverage.md"
README: Final = ROOT / "README.md"
REPRODUCERS: Final = ROOT / "docs" / "exposed"
PROGRAMS_MAX: Final = 2000  # a row that needs more is told as not found, and its profile is to be mended
KEPT_BYTES_MAX: Final = 8192  # of a reproducer; of a larger one the command is told that finds it


def check(patch: Patch, folder: Path = REPRODUCERS) -> Checked:
    """Ask what a row changes, or whether it changes nothing. Writes the reproducer to `folder`."""
    return check_equivalence(patch) if changes_nothing(patch) else check_change(patch, folder)


def check_change(patch: Patch, folder: Path) -> Checked:
    """Search from the first seed on."""
    *_, last = islice(expose_steps(patch.id), PROGRAMS_MAX)
    return Checked(
        patch=patch.id,
        model=model_version(),
        outcome="exposed" if last.exposed else "no difference found",
        level=last.level,
        programs=last.programs,
        effects=last.effects,
        evidence=last.witness or "",
        reproducer=kept(last, folder),
    )


def kept(exposure: Exposure, folder: Path) -> str:
    """Write the reproducer if it is small; returns where it is in the checkout, "" if it is not kept."""
    file = folder / f"{exposure.patch}.json"
    if exposure.reproducer is None or len(exposure.reproducer) > KEPT_BYTES_MAX:
        file.unlink(missing_ok=True)
        return ""
    folder.mkdir(exist_ok=True)
    file.write_bytes(exposure.reproducer)
    return f"docs/exposed/{file.name}"


def check_equivalence(patch: Patch) -> Checked:
    """Compare both formulations; of what differs, say with which other rows it does not."""
    proof = prove(patch.id)
    return Checked(
        patch=patch.id,
        model=model_version(),
        outcome="proven" if proof.proven else "not equivalent alone",
        cases=proof.cases,
        with_rows=proof.together,
        evidence=proof.counterexample or "",
    )


def page(rows: list[ListedPatch]) -> str:
    """The text of docs/changelog-coverage.md."""
    in_changelog = [row for row in rows if row.patch.listed]
    lines = [
        "# The changelog, row by row",
        "",
        "What the model has of the changelog, and what search and proof have shown of each row.",
        "`python -m tests.quality.coverage --all` asks and makes this page, `mmufuzz patches` tells the same.",
        "",
        *summary(in_changelog),
        "",
        "- *exposed after N programs*: a search from seed 0 showed a difference in the N-th program and attributed it",
        "  to this row alone; the effects of that program follow. On the function alone: no program can show it.",
        "- *proven over N cases*: the model did the same without and with it on so many inputs, some of them programs.",
        "  Of a merge: it is its rows, and nothing beside them.",
        "- *not equivalent alone*: the row is called an equivalence and is none without the other ones.",
        "",
        "A reproducer is replayed by `mmufuzz replay FILE`.",
    ]
    for series in SERIES:
        lines += ["", f"## {series}", "", *table([row for row in in_changelog if row.series == series])]
    apart = [row for row in rows if not row.patch.listed]
    lines += [
        "",
        "## No rows",
        "",
        "Commits that rows build on and that the changelog does not list.",
        "",
        *table(apart),
    ]
    return "\n".join(lines) + "\n"


def summary(rows: list[ListedPatch]) -> Iterator[str]:
    """How many rows there are in each state, by series and kind of statement."""
    modelled = sum(row.patch.modelled for row in rows)
    yield f"{len(rows)} rows, {modelled} modelled."
    yield ""
    yield "| state | " + " | ".join(SERIES) + " | all |"
    yield "|---|" + "---:|" * (len(SERIES) + 1)
    counts = Counter((row.state, row.series) for row in rows)
    for state in dict.fromkeys(row.state for row in sorted(rows, key=lambda row: not row.patch.modelled)):
        numbers = [counts[state, series] for series in SERIES]
        yield f"| {state} | " + " | ".join(map(str, [*numbers, sum(numbers)])) + " |"


def table(rows: Iterable[ListedPatch]) -> Iterator[str]:
    yield "| row | kind | where | state | checked with | again | commit |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        patch = row.patch
        where = ", ".join(whereabouts(patch))
        version = f"`{row.checked.model}`" if row.checked else ""
        commit = f"[{patch.upstream[:12]}]({row.link})"
        yield f"| {patch.id} | {patch.kind} | {where} | {row.told} | {version} | {again(row)} | {commit} |"


def again(row: ListedPatch) -> str:
    """A link to the program, or the command."""
    if row.reproducer.startswith("docs/"):
        file = row.reproducer.removeprefix("docs/")
        return f"[{Path(file).name}]({file})"
    return f"`{row.reproducer}`" if row.reproducer else ""


def askable() -> list[Patch]:
    """The rows that something can be asked about."""
    return [patch for patch in PATCHES.values() if can_be_cause(patch.id) or patch.kind == "series"]


def asked(options: argparse.Namespace) -> list[Patch]:
    """Raises UnknownPatch."""
    known = checked_rows()
    for name in options.rows:
        if name not in PATCHES:
            raise unknown_patch(name)
    return [
        patch
        for patch in askable()
        if options.all or patch.id in options.rows or (options.missing and patch.id not in known)
    ]


def write(rows: dict[str, Checked]) -> None:
    """The file, the page made of it, and the number in README.md."""
    FILE.write_bytes(encode_checked(rows))
    checked_rows.cache_clear()
    PAGE.write_text(page([listed(patch) for patch in PATCHES.values()]), encoding="utf-8")
    README.write_text(with_number(README.read_text(encoding="utf-8"), rows), encoding="utf-8")


def with_number(text: str, rows: dict[str, Checked]) -> str:
    """README.md with the number of rows of the changelog that were asked about."""
    answered = sum(PATCHES[patch].listed for patch in rows)
    return re.sub(r"have answered for \d+ of them", f"have answered for {answered} of them", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows, by id")
    parser.add_argument("--all", action="store_true", help="every row that the model has")
    parser.add_argument("--missing", action="store_true", help="every row of which nothing is written down")
    options = parser.parse_args()
    for patch in asked(options):
        result = check(patch)
        # Another process may have written in the meantime.
        write(decode_checked(FILE.read_bytes()) | {patch.id: result})
        print(f"{patch.id}: {listed(patch).told}", flush=True)
    write(decode_checked(FILE.read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
