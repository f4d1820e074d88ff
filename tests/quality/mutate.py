# SPDX-License-Identifier: GPL-2.0-only
"""Does the search find it when one flush, check or lock is taken out of the model?

    python -m tests.quality.mutate --all --report docs/mutants.md     every mutant, a minute each at most
    python -m tests.quality.mutate --only lock --list                 what there is of one kind
    python -m tests.quality.mutate x86/fault.py:kvm_faultin_pfn:snapshot:3 --diff

The shipped model is OLD and the mutant is NEW, both with the same semantics, so that no patch of the catalogue can
excuse a difference.  A mutant is killed by a *regression*: a safety invariant that breaks in the mutant and not in the
shipped model, nor next door.  A mutant that only behaves differently is noted as such, with the effect.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Final, Literal

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

import msgspec
import yaml

from fuzzer.change.variant import load_variant
from fuzzer.judge.finding import Verdict
from fuzzer.judge.verdict import Trial
from fuzzer.program.generate import generate
from fuzzer.program.profile import PROFILES, Profile
from fuzzer.program.program import Program
from fuzzer.program.rng import Rng, stream
from fuzzer.run.compare import Comparison, Drive, Models, Side, by_scheduler
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.changelog.semantics import NEW
from reference_mmu.changelog.semantics import NO_STRUCT_PAGE as OLD
from reference_mmu.record import Record
from tests.quality.operators import KINDS, Mutant, enumerate_mutants

SURVIVORS: Final = Path(__file__).with_name("mutants.yaml")
INDIRECT_FILES: Final = (
    "x86/shadow_mmu/account_shadowed.py",
    "x86/shadow_mmu/guest_walk.py",
    "x86/shadow_mmu/indirect_page.py",
    "x86/shadow_mmu/paging_tmpl.py",
    "x86/shadow_mmu/sync.py",
    "x86/shadow_mmu/track_write.py",
    "x86/shadow_mmu/unsync.py",
)
INDIRECT_FUNCTIONS: Final = (
    "invlpg",
    "kvm_mmu_load_shadow",
    "kvm_mmu_prepare_zap_page",
    "kvm_mmu_remote_flush_or_zap",
    "load_cr3",
)
# Whose page tables go with their memslot, or under the feet of a vCPU.
ROOT_FUNCTIONS: Final = (
    "kvm_mmu_free_roots",
    "kvm_mmu_zap_memslot_pages_and_flush",
    "kvm_zap_obsolete_pages",
    "request_free_obsolete_roots",
    "valid_sps_with_gptes",
    "vcpu_enter_guest",
)
FIRST_SECONDS: Final = 20.0  # most die at once: the long search is for the rest
# What a change of this file would be tried with first.
PROFILE_OF: Final = {
    "kvm/dirty_log.py": PROFILES["harvest"],
    "x86/dirty_log.py": PROFILES["harvest"],
    "x86/tdp_mmu/eager_split.py": PROFILES["harvest"],
    "kvm/guest_memfd.py": PROFILES["gmem"],
    "kvm/mem_attributes.py": PROFILES["gmem"],
    "kvm/memslot_update.py": PROFILES["slots"],
    "x86/zap_all_fast.py": PROFILES["slots"],
    "x86/shadow_mmu/direct_map.py": PROFILES["slots"],
    "x86/shadow_mmu/shadow_page.py": PROFILES["slots"],
    "x86/vcpu.py": PROFILES["slots"],
    "x86/apic_access_page.py": PROFILES["apic-page"],
}

PROGRAM_SECONDS: Final = 10  # a program takes milliseconds; a mutant may loop for ever between two points
# No schedule of the shipped model shows these, and the neighbour runs of a mutant that loops take minutes.
NEVER_SHIPPED: Final = ("model-bug", "no-progress")

_JUDGED_MAX: Final = 12  # neighbour runs cost as much as a hundred programs: look at the first few cases only


class Outlived(Record, forbid_unknown_fields=True):
    """Mutants that no regression kills, and why: `equivalent`, no run can tell as far as safety goes; `costs`, it only
    works more or knows less, as a later commit may have decided; `weakness`, a real bug that the search misses."""

    judgement: Literal["equivalent", "costs", "weakness"]
    reason: str
    mutants: tuple[str, ...]


class Result(Record):
    """What the search made of a mutant. `what` is the invariant, or for a mere divergence the effect; `seed` is that
    of the program that showed it."""

    id: str
    fate: Literal["regression", "divergence", "survived", "crash"]
    what: str
    seconds: float
    programs: int
    seed: int


def search(mutant: Mutant, first_seed: int, last_seed: int, seconds: float) -> Result:
    """Run the programs of the seeds until a regression shows, or the time is up."""
    models = Models(new=load_variant({mutant.file: mutant.source}))
    signal.signal(signal.SIGALRM, hangs)
    began = time.monotonic()
    effect, effect_seed = "", -1
    judged: Counter[str] = Counter()
    seed = first_seed
    while seed < last_seed and time.monotonic() - began < seconds:
        program, comparison, drive = experiment(seed, models, favourite_of(mutant))
        signal.setitimer(signal.ITIMER_REAL, PROGRAM_SECONDS, PROGRAM_SECONDS)
        outcome = comparison.run(program, drive)
        invariant = regression(comparison, drive, outcome, judged)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if invariant:
            return Result(mutant.id, "regression", invariant, time.monotonic() - began, seed + 1 - first_seed, seed)
        if outcome.divergences and not effect:
            effect, effect_seed = outcome.divergences[0].effect, seed
        seed += 1
    fate: Literal["divergence", "survived"] = "divergence" if effect else "survived"
    return Result(mutant.id, fate, effect, time.monotonic() - began, seed - first_seed, effect_seed)


def hangs(number: int, frame: FrameType | None) -> None:
    """Inside a flow the loader of variants makes a ModelBug of it."""
    raise TimeoutError("the mutant loops")


def favourite_of(mutant: Mutant) -> Profile | None:
    """The profile that runs the changed code most, None: any."""
    file, function = mutant.id.split(":")[:2]
    if function in ROOT_FUNCTIONS:
        return PROFILES["guest-roots"]
    if file in INDIRECT_FILES or function in INDIRECT_FUNCTIONS:
        return PROFILES["guest-tables"]
    return PROFILES["host"] if file.startswith("mm/") else PROFILE_OF.get(file)


def experiment(seed: int, models: Models, favourite: Profile | None) -> tuple[Program, Comparison, Drive]:
    """Program, pair and interleaving of a seed: every profile, three in four the favourite if there is one;
    either leader; OLD semantics one time in four, for the code that the patches of the catalogue switch off."""
    rng = Rng(stream(seed, "mutants"))
    profile = list(PROFILES.values())[rng.below(len(PROFILES))]
    if favourite is not None and rng.chance(3, 4):
        profile = favourite
    leader: Side = "old" if rng.chance(1, 2) else "new"
    semantics = OLD if rng.chance(1, 4) else NEW
    drive = by_scheduler(draw_strategy(seed), stream(seed, "mutants"))
    return generate(seed, profile), Comparison(semantics, semantics, leader, models), drive


def regression(comparison: Comparison, drive: Drive, outcome: Outcome, judged: Counter[str]) -> str:
    """The invariant that the mutant alone breaks, "" if there is none."""
    old, new = outcome.violations("old"), outcome.violations("new")
    for invariant in NEVER_SHIPPED:
        if invariant in new and invariant not in old:
            return invariant
    for invariant in new:
        if invariant not in old and judged[invariant] < _JUDGED_MAX:
            judged[invariant] += 1
            finding = Trial(comparison, drive, outcome).violation(invariant)
            if finding.verdict is Verdict.REGRESSION:
                return invariant
    return ""


# --- all of them -------------------------------------------------------------------------------------------------


def search_all(mutants: list[Mutant], seconds: float, jobs: int) -> Iterator[Result]:
    """Two rounds: everything for FIRST_SECONDS, then what is left, from other seeds, for the rest of the time."""
    first = min(seconds, FIRST_SECONDS)
    left: list[Mutant] = []
    for mutant, result in in_processes(mutants, 0, first, jobs):
        if result.fate in ("regression", "crash") or first == seconds:
            yield result
        else:
            left.append(mutant)
    # The first round cannot have come that far.
    yield from (result for _, result in in_processes(left, 1_000_000, seconds - first, jobs))


def in_processes(mutants: list[Mutant], first_seed: int, seconds: float, jobs: int) -> Iterator[tuple[Mutant, Result]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running: dict[Future[Result], Mutant] = {}
        for mutant in mutants:
            running[pool.submit(search, mutant, first_seed, first_seed + 1_000_000, seconds)] = mutant
        for future in as_completed(running):
            mutant = running[future]
            error = future.exception()
            if error is None:
                yield mutant, future.result()
            else:
                yield mutant, Result(mutant.id, "crash", f"{type(error).__name__}: {error}", 0.0, 0, -1)


def outlived() -> list[Outlived]:
    """The mutants that are known to live."""
    return msgspec.convert(yaml.safe_load(SURVIVORS.read_text(encoding="utf-8")), list[Outlived])


def with_reason() -> set[str]:
    return {name for entry in outlived() for name in entry.mutants}


def read_rows(file: Path) -> dict[str, str]:
    """The rows of a report, by mutant."""
    if not file.exists():
        return {}
    lines = file.read_text(encoding="utf-8").splitlines()
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines if line.startswith("| ") and ".py:" in line}


def killed(row: str) -> bool:
    return " | **" in row


def row_of(mutant: Mutant, result: Result) -> str:
    about = mutant.about.replace("|", "\\|")
    found = {
        "regression": f"**{result.what}**",
        "crash": f"**crash** {result.what}",
        "divergence": f"only {result.what}",
        "survived": "not found",
    }[result.fate]
    return f"| {mutant.id} | {about} | {found} | {result.seconds:.1f} | {result.programs} |"


def report(rows: list[str]) -> str:
    """The text of docs/mutants.md."""
    dead = sum(killed(row) for row in rows)
    reasons = outlived()
    counts: Counter[str] = Counter()
    for entry in reasons:
        counts[entry.judgement] += len(entry.mutants)
    lines = [
        "# Mutants of the model",
        "",
        "One flush, retry check, sequence step, dirty-log update or lock taken out of `reference_mmu/`, mechanically.",
        "`python -m tests.quality.mutate --all --report docs/mutants.md` makes this page, `--diff ID` shows a mutant.",
        "The shipped model is OLD and the mutant NEW, with the same semantics, so any difference is the mutant's own.",
        "Seconds and programs: until it was found, or as long as the last search went on; interpreted, one core.",
        "",
        f"{len(rows)} mutants: {dead} found as a regression, {len(rows) - dead} not "
        f"({counts['equivalent']} equivalent, {counts['costs']} a matter of costs or precision, "
        f"{counts['weakness']} missed: a weakness of the oracles or the generator).",
        "",
        "| mutant | what is taken out | found as | seconds | programs |",
        "|---|---|---|---:|---:|",
        *rows,
        "",
        "## Not found, and why",
    ]
    for entry in reasons:
        names = ", ".join(f"`{name}`" for name in entry.mutants)
        lines += ["", f"**{entry.judgement}**: {entry.reason.strip()}", "", names]
    return "\n".join(lines) + "\n"


def chosen(options: argparse.Namespace, mutants: list[Mutant]) -> list[Mutant]:
    known = read_rows(options.report) if options.report else {}
    return [
        mutant
        for mutant in mutants
        if options.all
        or mutant.kind == options.only
        or mutant.id in options.ids
        or (options.missing and mutant.id not in known)
    ]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.quality.mutate", description="Search mutants of the model.")
    parser.add_argument("ids", nargs="*", help="mutants, by id")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--only", metavar="KIND", choices=KINDS, help="every mutant of one kind")
    parser.add_argument("--missing", action="store_true", help="every mutant that the report does not know")
    parser.add_argument("--list", action="store_true", help="say what would be searched, and stop")
    parser.add_argument("--diff", action="store_true", help="show the mutants as diffs, and stop")
    parser.add_argument("--seconds", type=float, default=60.0, help="at most, per mutant (default: 60)")
    parser.add_argument("--jobs", type=int, default=1, help="processes (default: 1)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="put the results into the table of FILE")
    options = parser.parse_args(arguments)
    unknown = set(options.ids) - {mutant.id for mutant in enumerate_mutants()}
    if unknown:
        parser.error(f"no mutant {min(unknown)}")
    return options


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    everything = enumerate_mutants()
    mutants = chosen(options, everything)
    if options.list or options.diff:
        for mutant in mutants:
            print(mutant.diff() if options.diff else f"{mutant.id}  line {mutant.line}: {mutant.about}")
        return 0
    rows = read_rows(options.report) if options.report else {}
    by_id = {mutant.id: mutant for mutant in everything}
    lost: list[str] = []
    for result in search_all(mutants, options.seconds, options.jobs):
        rows[result.id] = row_of(by_id[result.id], result)
        if not killed(rows[result.id]):
            lost.append(result.id)
        print(f"{result.fate:10} {result.what:26} {result.seconds:6.1f} s {result.programs:6} {result.id}", flush=True)
    if options.report:
        text = report([rows[mutant.id] for mutant in everything if mutant.id in rows])
        options.report.write_text(text, encoding="utf-8")
    lost = sorted(set(lost) - with_reason())
    for name in lost:
        print(f"not found, and no reason given: {name}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
