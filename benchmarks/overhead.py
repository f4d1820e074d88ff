# SPDX-License-Identifier: GPL-2.0-only
"""What a fleet costs: the same seeds by `mmufuzz run` and by a worker with its servers, on the same cores.

    make compile
    .venv/bin/python -m benchmarks.overhead --programs 20000 --slots 2

Seconds of the clock tell what a user waits for; they need an idle machine. Seconds of processor time are told for both,
too, those of PostgreSQL and of the broker included, with start and end of all processes.
"""

import os
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import click
import msgspec
import psutil  # type: ignore[import-untyped]

from tests.service.fleet import Fleet
from tests.service.servers import Servers, running_servers
from tests.workers.shell import COMMAND, environment
from workers.launch import BATCH_PROGRAMS


class Measured(msgspec.Struct, frozen=True):
    """What a search took."""

    programs: int
    wall_seconds: float
    cpu_seconds: float

    def line(self, name: str) -> str:
        rate = self.programs / self.cpu_seconds
        wall = self.programs / self.wall_seconds
        return f"{name:<9} {self.wall_seconds:7.1f} s, {self.cpu_seconds:7.1f} s CPU: {wall:.0f}/s, {rate:.0f}/s CPU"


@click.command()
@click.option("--programs", type=click.IntRange(1), default=20_000, show_default=True)
@click.option("--batch-programs", type=click.IntRange(1), default=BATCH_PROGRAMS, show_default=True)
@click.option("--slots", type=click.IntRange(1), default=2, show_default=True)
@click.option("--profile", default="tdp", show_default=True)
def main(programs: int, batch_programs: int, slots: int, profile: str) -> None:
    """Compare a fleet with one embedded search."""
    print(f"{programs} programs of {profile}, {slots} at a time, load {os.getloadavg()[0]:.1f}")
    search = f"--programs {programs} --profile {profile} --seed 1"
    with tempfile.TemporaryDirectory(prefix="mmufuzz-") as name, running_servers() as servers:
        folder = Path(name)
        embedded = run_embedded(folder, f"{search} --jobs {slots}", programs)
        print(embedded.line("embedded"))
        fleet = run_fleet(servers, folder, f"{search} --batch-programs {batch_programs}", slots, programs)
        print(fleet.line("fleet"))
    print(f"fleet / embedded: {embedded.wall_seconds / fleet.wall_seconds:.1%} of the throughput by the clock,")
    print(f"                  {embedded.cpu_seconds / fleet.cpu_seconds:.1%} by processor time")


def run_embedded(folder: Path, search: str, programs: int) -> Measured:
    """`mmufuzz run`."""
    began, cpu = time.monotonic(), children_seconds()
    variables = environment() | {"MMUFUZZ_CORE": "compiled"}
    subprocess.run([*COMMAND, "run", *search.split()], cwd=folder, env=variables, capture_output=True, check=True)
    return Measured(programs, time.monotonic() - began, children_seconds() - cpu)


def run_fleet(servers: Servers, folder: Path, search: str, slots: int, programs: int) -> Measured:
    """`mmufuzz campaign create` and one worker."""
    with Fleet(servers, folder) as fleet:
        servers_cpu = servers_seconds(servers)
        assert fleet.mmufuzz("campaign", "create", *search.split()).returncode == 0
        began, cpu = time.monotonic(), children_seconds()
        worker = fleet.start_worker(slots, MMUFUZZ_CORE="compiled", MMUFUZZ_PULSE_SECONDS="2")
        status = fleet.finish(1, seconds=36_000)
        assert status.programs == programs
        worker.process.send_signal(signal.SIGTERM)
        worker.process.wait()
        wall = time.monotonic() - began
        fleet.engine.dispose()
        return Measured(programs, wall, children_seconds() - cpu + servers_seconds(servers) - servers_cpu)


def children_seconds() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def servers_seconds(servers: Servers) -> float:
    """Processor time of both servers and all their processes so far."""
    processes = [psutil.Process(pid) for pid in servers.pids()]
    live = [child for process in processes for child in process.children(recursive=True)]
    ended: float = sum(times.children_user + times.children_system for times in (one.cpu_times() for one in processes))
    own: float = sum(times.user + times.system for times in (one.cpu_times() for one in (*processes, *live)))
    return ended + own


if __name__ == "__main__":
    main()
