# SPDX-License-Identifier: GPL-2.0-only
"""Does the search find it when one flush, check or lock is taken out of the model?

    python -m tests.quality.mutate --all --report docs/mutants.md     every mutant, a minute each at most
    python -m tests.quality.mutate --only lock --list                 what there is of one kind
    python -m tests.quality.mutate x86/fault.py:kvm_faultin_pfn:snapshot:3 --diff

The shipped model is OLD and the mutant is NEW, both with the same semantics, so that no patch of the catalogue can
excuse a difference: those of any kernel between the first commit and the last one, since a flow may end in one way
before a commit and in another one after it.  A mutant is killed by a *regression*: a safety invariant that breaks in
the mutant and not in the shipped model, nor next door.  A mutant that only behaves differently is noted as such, with
the effect.
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
from functools import cache
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
from fuzzer.run.lockstep import MAX_STEPS
from fuzzer.run.outcome import Outcome
from fuzzer.schedule.schedulers import draw_strategy
from reference_mmu.architectures import ARCHITECTURES
from reference_mmu.changelog.patches import PATCHES
from reference_mmu.changelog.semantics import NEW, OLD, Semantics
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
    "kvm_mmu_commit_zap_page",
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
# Who pins for reading gets a copy of its own, and nobody else does.
PIN_FUNCTIONS: Final = ("unshare_page", "wp_page_copy")
# Pages of which nothing else says that they were written.
MARKS: Final = msgspec.structs.replace(
    PROFILES["reclaim"], aging=4, logging=3, paging=("ept-ad", "ept-noad", "ept-noad", "npt")
)
# Pages that have been written, are shared then, and pinned for reading.
PINS: Final = msgspec.structs.replace(
    PROFILES["vcpu-map"], logging=0, slots=0, huge=0, hot=6, writes=24, invalidations=("fork", "share"), mm_ops=2
)
# Writes that KVM emulates, to memory of a device.
DEVICES: Final = msgspec.structs.replace(
    PROFILES["pages"], tracking=8, backings=("pfnmap-nostruct", "pfnmap-refcounted", "pfnmap-reserved")
)
# L2 behind a shadowed EPT, which logs by W while L1 logs by PML.
NESTED_LOGS: Final = msgspec.structs.replace(
    PROFILES["guest-tables"], aging=0, invalidation=1, logging=10, hot=5, reads=2, writes=12, paging=("ept-ad",)
)
# Holes and errors in a guest_memfd whose memslots come and go.
HOLES: Final = msgspec.structs.replace(
    PROFILES["gmem"], mishaps=0, logging=0, slots=5, aging=0, added=(("punch-hole", 6), ("poison-private", 4))
)
FIRST_SECONDS: Final = 20.0  # most die at once: the long search is for the rest
# What a change of this file would be tried with first.
PROFILE_OF: Final = {
    "kvm/dirty_log.py": PROFILES["harvest"],
    "x86/dirty_log.py": PROFILES["harvest"],
    "x86/tdp_mmu/eager_split.py": PROFILES["harvest"],
    "kvm/guest_memfd.py": PROFILES["gmem"],
    "kvm/mem_attributes.py": PROFILES["gmem"],
    "kvm/pfncache.py": PROFILES["vcpu-map"],
    "kvm/vcpu_map.py": PROFILES["vcpu-map"],
    "x86/vmx/nested.py": PROFILES["vcpu-map"],
    "arm64/points.py": PROFILES["arm64-mte"],
    "arm64/pgtable.py": msgspec.structs.replace(
        PROFILES["arm64"], aging=8, invalidation=1, logging=8, slots=0, huge=3, hot=8
    ),
    "arm64/guest.py": msgspec.structs.replace(
        PROFILES["arm64-mte"], backings=("shmem", "fsdax"), huge=0, invalidations=("reclaim", "writeback", "migrate")
    ),
    "powerpc/book3s_32_mmu_host.py": msgspec.structs.replace(PROFILES["powerpc-pr"], flavours=("book3s_pr_32",)),
    "powerpc/book3s_64_mmu_host.py": msgspec.structs.replace(PROFILES["powerpc-pr"], flavours=("book3s_pr",)),
    # Two that fault on one gfn at the same time, one of them for reading, of which nobody is rid by writing once more.
    "powerpc/book3s_64_mmu_hv.py": msgspec.structs.replace(
        PROFILES["powerpc"],
        flavours=("book3s_hv",),
        aging=1,
        invalidation=1,
        logging=3,
        slots=0,
        huge=0,
        hot=6,
        vcpu_ops=2,
        readonly=4,
    ),
    "powerpc/book3s_64_mmu_radix.py": msgspec.structs.replace(PROFILES["powerpc"], flavours=("book3s_radix",)),
    "powerpc/book3s_hv.py": PROFILES["powerpc"],
    "powerpc/book3s_hv_uvmem.py": PROFILES["powerpc-uv"],
    "powerpc/book3s_pr.py": PROFILES["powerpc-pr-log"],
    "powerpc/dcbz.py": PROFILES["powerpc-pr"],
    "powerpc/e500.py": PROFILES["e500"],
    "powerpc/e500_mmu_host.py": PROFILES["e500"],
    "kvm/memslot_update.py": PROFILES["slots"],
    "x86/zap_all_fast.py": PROFILES["slots"],
    "x86/shadow_mmu/direct_map.py": PROFILES["slots"],
    "x86/shadow_mmu/shadow_page.py": PROFILES["slots"],
    "x86/vcpu.py": PROFILES["slots"],
    "x86/apic_access_page.py": PROFILES["apic-page"],
}

PROGRAM_SECONDS: Final = 10
"""Of CPU time: a program takes milliseconds; a mutant may loop for ever between two points."""
# No schedule of the shipped model shows these, and the neighbour runs of a mutant that loops take minutes.
NEVER_SHIPPED: Final = ("exception", "model-bug", "no-progress")

_JUDGED_MAX: Final = 12  # neighbour runs cost as much as a hundred programs: look at the first few cases only


class Outlived(Record, forbid_unknown_fields=True):
    """Mutants that no regression kills, and why: `equivalent`, no kernel can tell as far as safety goes; `costs`, it
    only works more or knows less, as a later commit may have decided; `unmodelled`, a bug in the kernel, by what the
    model leaves out, which the reason names; `weakness`, a real bug that the search misses."""

    judgement: Literal["equivalent", "costs", "unmodelled", "weakness"]
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
    signal.signal(signal.SIGPROF, hangs)
    began = time.monotonic()
    effect, effect_seed = "", -1
    judged: Counter[str] = Counter()
    seed = first_seed
    while seed < last_seed and time.monotonic() - began < seconds:
        try:
            invariant, divergence = one_program(seed, models, mutant, judged)
        except TimeoutError:  # while neighbours were looked at, and outside of any flow: it says nothing
            invariant, divergence = "", ""
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        if invariant:
            return Result(mutant.id, "regression", invariant, time.monotonic() - began, seed + 1 - first_seed, seed)
        if divergence and not effect:
            effect, effect_seed = divergence, seed
        seed += 1
    fate: Literal["divergence", "survived"] = "divergence" if effect else "survived"
    return Result(mutant.id, fate, effect, time.monotonic() - began, seed - first_seed, effect_seed)


def one_program(seed: int, models: Models, mutant: Mutant, judged: Counter[str]) -> tuple[str, str]:
    """The invariant that the mutant alone breaks, and the first effect that tells it from the shipped model, each "" if
    there is none."""
    program, comparison, drive = experiment(seed, models, mutant)
    signal.setitimer(signal.ITIMER_PROF, PROGRAM_SECONDS, PROGRAM_SECONDS)
    outcome = comparison.run(program, drive)
    divergence = outcome.divergences[0].effect if outcome.divergences else ""
    return regression(comparison, drive, outcome, judged), divergence


def hangs(number: int, frame: FrameType | None) -> None:
    """Inside a flow the loader of variants makes a ModelBug of it."""
    raise TimeoutError("the mutant loops")


def favourite_of(mutant: Mutant) -> Profile | None:
    """The profile that runs the changed code most, None: any."""
    file, function = mutant.id.split(":")[:2]
    if mutant.kind == "mark" and file.startswith("x86/"):
        return MARKS
    if function.startswith("GMEM_"):
        return HOLES
    if function in PIN_FUNCTIONS:
        return PINS
    if function == "spte_clear_dirty":
        return NESTED_LOGS
    if function == "fault_in_user":
        return DEVICES
    if function in ROOT_FUNCTIONS:
        return PROFILES["guest-roots"]
    if file in INDIRECT_FILES or function in INDIRECT_FUNCTIONS:
        return PROFILES["guest-tables"]
    return PROFILES["host"] if file.startswith("mm/") else PROFILE_OF.get(file)


@cache
def profiles_of(room: str, kind: str) -> tuple[Profile, ...]:
    """The profiles whose machines run code of a room, and in which a mutant of the kind means what it says."""
    if room in ("kvm", "mm", "points.py"):
        # A point that waits for mmu_lock for read has a number of its own in each architecture.
        return tuple(profile for profile in PROFILES.values() if kind != "downgrade" or "x86" in profile.arch)
    if room == "stage2":
        arches = set(ARCHITECTURES) - {"x86", "s390"} if kind != "downgrade" else {"arm64"}
    else:
        arches = {room}
    return tuple(profile for profile in PROFILES.values() if not arches.isdisjoint(profile.arch))


@cache
def stages_of(file: str) -> tuple[Semantics, ...]:
    """The kernels right after each commit that changes code of the file, of its room, or of any."""
    commits = [patch for patch in PATCHES if patch in NEW.patches]
    room, *names = file.removesuffix(".py").split("/")  # x86/tdp_mmu/map.py is of tdp_mmu.c
    of_file = [
        at
        for at, patch in enumerate(commits, 1)
        if any(f"/{name}.c:" in " ".join(PATCHES[patch].functions) for name in names)
    ]
    of_room = [at for at, patch in enumerate(commits, 1) if PATCHES[patch].arch == room]
    own = of_file or of_room or range(1, len(commits) + 1)
    return tuple(Semantics(frozenset(commits[:at])) for at in own)


def experiment(seed: int, models: Models, mutant: Mutant) -> tuple[Program, Comparison, Drive]:
    """Program, pair and interleaving of a seed: every profile of the room, three in four the favourite if there is one;
    either leader; semantics of before, amid and after the series, since each runs code that others do not."""
    rng = Rng(stream(seed, "mutants"))
    room = mutant.file.partition("/")[0]
    profiles = profiles_of(room, mutant.kind)
    profile = profiles[rng.below(len(profiles))]
    favourite = favourite_of(mutant)
    if favourite is not None and rng.chance(3, 4):
        profile = favourite
    leader: Side = "old" if rng.chance(1, 2) else "new"
    stages = stages_of(mutant.file)
    semantics = (OLD, stages[rng.below(len(stages))], stages[rng.below(len(stages))], NEW)[rng.below(4)]
    drive = by_scheduler(draw_strategy(seed), stream(seed, "mutants"))
    return generate(seed, profile), Comparison(semantics, semantics, leader, models), drive


def regression(comparison: Comparison, drive: Drive, outcome: Outcome, judged: Counter[str]) -> str:
    """The invariant that the mutant alone breaks, "" if there is none."""
    old, new = outcome.violations("old"), outcome.violations("new")
    pair = outcome.pair
    if comparison.leader == "old" and pair.leader.steps < MAX_STEPS <= pair.follower.steps:
        return "no-progress"  # that is told of leaders alone
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
    rooms: dict[str, list[str]] = {}
    for row in rows:
        rooms.setdefault(room_of(row), []).append(row)
    reasons = outlived()
    counts: Counter[str] = Counter()
    for entry in reasons:
        counts[entry.judgement] += len(entry.mutants)
    lines = [
        "# Mutants of the model",
        "",
        "One flush, retry check, sequence step, dirty-log update, mark, reference or lock is taken out of",
        "`reference_mmu/`, mechanically.",
        "`python -m tests.quality.mutate --all --report docs/mutants.md` makes this page, `--diff ID` shows a mutant.",
        "The shipped model is OLD and the mutant NEW, with the same semantics, so any difference is the mutant's own.",
        "",
        "| room | mutants | found as a regression | only seen to differ | not seen |",
        "|---|---:|---:|---:|---:|",
        *(f"| {room} | {tally(of_room)} |" for room, of_room in rooms.items()),
        f"| all | {tally(rows)} |",
        "",
        f"Those that are not found as a regression: {counts['equivalent']} equivalent, {counts['costs']} a matter of "
        f"costs or precision, {counts['unmodelled']} a bug in the kernel that rests on something the model leaves out, "
        f"{counts['weakness']} missed, a weakness of the oracles or the generator. Why follows the "
        "tables.",
        "",
        "Seconds and programs: until it was found, or as long as the last search went on; interpreted, one core.",
    ]
    for room, of_room in rooms.items():
        lines += ["", f"## {room}", "", "| mutant | what is taken out | found as | seconds | programs |"]
        lines += ["|---|---|---|---:|---:|", *of_room]
    lines += ["", "## Not found, and why"]
    for entry in reasons:
        names = ", ".join(f"`{name}`" for name in entry.mutants)
        lines += ["", f"**{entry.judgement}**: {entry.reason.strip()}", "", names]
    return "\n".join(lines) + "\n"


def room_of(row: str) -> str:
    """The folder of a row's mutant; the points of all architectures are a room of their own."""
    file = row.removeprefix("| ").partition(":")[0]
    return file.partition("/")[0] if "/" in file else "points"


def tally(rows: list[str]) -> str:
    """Cells: all, those found as a regression, as a mere difference, not at all."""
    dead = sum(killed(row) for row in rows)
    differ = sum(" | only " in row for row in rows)
    return f"{len(rows)} | {dead} | {differ} | {len(rows) - dead - differ}"


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
        if options.report:  # after each: a search of all takes an hour or two, and may be broken off
            text = report([rows[mutant.id] for mutant in everything if mutant.id in rows])
            options.report.write_text(text, encoding="utf-8")
    lost = sorted(set(lost) - with_reason())
    for name in lost:
        print(f"not found, and no reason given: {name}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
