# SPDX-License-Identifier: GPL-2.0-only
"""What a fleet costs: the same seeds by `mmufuzz run` and by a worker with its servers, on the same cores.

    make compile
    .venv/bin/python -m benchmarks.overhead --programs 200000 --slots 1 --pairs 3

Told are the whole, with start and end of all processes, and what is left of it when a campaign of a single program is
taken off, which is start and end and nothing else. Seconds of the clock tell what a user waits for; they need an idle
machine. Seconds of processor time are told for both, those of PostgreSQL and of the broker included.
"""

import os
import resource
import signal
import statistics
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click
import psutil  # type: ignore[import-untyped]

from db.schema import CampaignState
from reference_mmu.record import Record
from tests.cli.shell import COMMAND, environment
from tests.service.fleet import Fleet
from tests.service.servers import Servers, running_servers
from tests.service.waiting import let_pass
from workers.launch import BATCH_PROGRAMS


class Measured(Record):
    """What a search took."""

    programs: int
    wall_seconds: float
    cpu_seconds: float
    servers_seconds: float = 0.0
    """Of cpu_seconds what PostgreSQL and the broker took."""

    def without(self, start: "Measured") -> "Measured":
        """What is left when another search is taken off."""
        return Measured(
            self.programs - start.programs,
            self.wall_seconds - start.wall_seconds,
            self.cpu_seconds - start.cpu_seconds,
            self.servers_seconds - start.servers_seconds,
        )

    def line(self, name: str) -> str:
        rate = self.programs / self.cpu_seconds
        wall = self.programs / self.wall_seconds
        times = f"{self.wall_seconds:7.1f} s, {self.cpu_seconds:7.1f} s CPU (servers {self.servers_seconds:.1f})"
        return f"{name:<18} {times}: {wall:.0f}/s, {rate:.0f}/s CPU"


@click.command()
@click.option("--programs", type=click.IntRange(2), default=200_000, show_default=True)
@click.option("--batch-programs", type=click.IntRange(1), default=BATCH_PROGRAMS, show_default=True)
@click.option("--slots", type=click.IntRange(1), default=2, show_default=True)
@click.option("--profile", default="tdp", show_default=True)
@click.option("--pairs", type=click.IntRange(1), default=1, show_default=True, help="How often both are run, in turn.")
def main(programs: int, batch_programs: int, slots: int, profile: str, pairs: int) -> None:
    """Compare a fleet with one embedded search."""
    without = []
    for _ in range(pairs):
        print(f"{programs} programs of {profile}, {slots} at a time, load {os.getloadavg()[0]:.1f}")
        with running_servers() as servers:
            embedded = [run_embedded(count, profile, slots) for count in (1, programs)]
            fleet = [run_fleet(servers, count, profile, batch_programs, slots) for count in (1, programs)]
        compare("start and end", embedded[0], fleet[0])
        without.append(compare("without them", embedded[1].without(embedded[0]), fleet[1].without(fleet[0])))
        compare("whole", embedded[1], fleet[1])
    for name, ratios in zip(("by the clock", "by processor time"), zip(*without, strict=True), strict=True):
        told = f"{statistics.median(ratios):.1%} (from {min(ratios):.1%} to {max(ratios):.1%})"
        print(f"without start and end, {name}: {told}")


def compare(what: str, embedded: Measured, fleet: Measured) -> tuple[float, float]:
    """Print both, and how much of the embedded throughput the fleet has: by the clock, and by processor time."""
    print(f"{what}:")
    print(embedded.line("  embedded"))
    print(fleet.line("  fleet"))
    wall, cpu = embedded.wall_seconds / fleet.wall_seconds, embedded.cpu_seconds / fleet.cpu_seconds
    print(f"  fleet / embedded  {wall:.1%} of the throughput by the clock, {cpu:.1%} by processor time", flush=True)
    return wall, cpu


def run_embedded(programs: int, profile: str, jobs: int) -> Measured:
    """`mmufuzz run`."""
    began, cpu = time.monotonic(), children_seconds()
    variables = environment() | {"MMUFUZZ_CORE": "compiled"}
    words = f"run --programs {programs} --profile {profile} --seed 1 --jobs {jobs}"
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as folder:
        run = subprocess.run([*COMMAND, *words.split()], cwd=folder, env=variables, capture_output=True, text=True)
        assert run.returncode in (0, 1), run.stderr  # 1: among so many programs is a finding that fails a run
    return Measured(programs, time.monotonic() - began, children_seconds() - cpu)


def run_fleet(servers: Servers, programs: int, profile: str, batch_programs: int, slots: int) -> Measured:
    """`mmufuzz campaign create` and one worker."""
    words = f"campaign create --programs {programs} --profile {profile} --seed 1 --batch-programs {batch_programs}"
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as folder, Fleet(servers, Path(folder)) as fleet:
        assert fleet.mmufuzz(*words.split()).returncode == 0
        servers_cpu, began, cpu = servers_seconds(servers), time.monotonic(), children_seconds()
        worker = fleet.start_worker(slots, MMUFUZZ_CORE="compiled", MMUFUZZ_PULSE_SECONDS="2")
        # Rarely: what is asked here is counted as the servers' time.
        while fleet.fleets.status(1).campaign.state is not CampaignState.FINISHED:
            let_pass(0.5)
        assert fleet.fleets.status(1).programs == programs
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait()
        wall = time.monotonic() - began
        fleet.engine.dispose()
        of_servers = servers_seconds(servers) - servers_cpu
        return Measured(programs, wall, children_seconds() - cpu + of_servers, of_servers)


def children_seconds() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def servers_seconds(servers: Servers) -> float:
    """Processor time of both servers and all their processes so far."""
    processes = [psutil.Process(pid) for pid in servers.pids()]
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system + times.children_user + times.children_system
    for child in (child for process in processes for child in process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # it has ended since: its parent's times have it next time
            total += child.cpu_times().user + child.cpu_times().system
    return total


if __name__ == "__main__":
    main()
