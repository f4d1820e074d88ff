# SPDX-License-Identifier: GPL-2.0-only
"""Bring the deployment up for real, disturb it, look whether anything was lost, and take it down.

    python -m tests.deploy.up

Needs root, dockerd, docker-compose and debootstrap, and a mirror of Debian and a package index for the first run. All
containers are in a Docker daemon of their own, without a network but theirs; images are made here (bases.py).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click
from sqlalchemy import Engine

from db.fleets import Fleets, FleetStatus
from db.schema import CampaignState
from db.session import StoreUnavailable, open_database
from db.store import Store
from tests.deploy.bases import make_bases, make_image
from tests.deploy.daemon import running_daemon
from tests.deploy.documented import commands_of
from tests.deploy.files import ROOT
from tests.deploy.stack import Stack, compose_command
from tests.service.chaos import Plan, Shown, shown_in, wrongs
from tests.service.waiting import wait_until

FIRST_FINDING_SECONDS_MAX: Final = 120
PLAN: Final = Plan(
    batches=200, batch_programs=30, seed=1, pause_batches=(0, 0), pause_seconds=0.0, disasters=4, core="compiled"
)
DISTURBED: Final = 2
"""The number of the campaign that is disturbed: the first is what the deployment began with."""
_TOOLS: Final = ("dockerd", "docker", "debootstrap", "tar")
_SERVICES: Final = ("database", "broker", "worker", "dashboard", "prometheus")


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print how long it took, or that it failed."""
    began = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"{time.monotonic() - began:7.1f} s  FAILED: {name}", flush=True)
        raise
    print(f"{time.monotonic() - began:7.1f} s  {name}", flush=True)


def first_finding(stack: Stack) -> None:
    """From nothing to a finding that the dashboard shows."""
    began = time.monotonic()
    with step("docker-compose up"):
        stack.compose("up --detach --no-build")
    with step("a finding is visible"):
        wait_until(lambda: bool((stack.ask("/findings") or {}).get("rows")), "a finding", FIRST_FINDING_SECONDS_MAX)
    seconds = time.monotonic() - began
    print(f"{seconds:7.1f} s  IN ALL from `up` to the first finding, at most {FIRST_FINDING_SECONDS_MAX}", flush=True)
    assert seconds < FIRST_FINDING_SECONDS_MAX
    assert stack.refuses_strangers(), "without a token nothing is shown"


def confined(stack: Stack) -> None:
    """What compose.yaml promises of every container is so."""
    for service in _SERVICES:
        (container,) = stack.containers(service)
        seen = stack.inspect(container)
        host = seen["HostConfig"]
        status = Path(f"/proc/{seen['State']['Pid']}/status").read_text(encoding="ascii")
        of_process = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert "0" not in of_process["Uid"].split(), f"{service} runs as root"
        assert int(of_process["CapEff"], 16) == 0, f"{service} has capabilities"
        assert of_process["NoNewPrivs"] == "1", f"{service} may gain privileges"
        assert host["ReadonlyRootfs"], f"{service} may write to its disk"
        assert min(host["Memory"], host["NanoCpus"]) > 0, f"{service} is not limited"
    environment = stack.inspect(stack.containers("worker")[0])["Config"]["Env"]
    password = (stack.secrets / "database_password").read_text(encoding="ascii").strip()
    assert not any(password in variable for variable in environment), "the environment tells the password"


def scaled(stack: Stack) -> None:
    """A second worker joins, and Prometheus finds it by itself."""
    stack.compose("up --detach --no-build --no-recreate --scale worker=2")
    wait_until(lambda: stack.query("max(mmufuzz_workers)") == 2, "two workers are alive", 90)
    wait_until(lambda: stack.query('sum(up{job="worker"})') == 2, "Prometheus scrapes both", 60)
    wait_until(lambda: bool(stack.query("sum(mmufuzz_programs_total)")), "what they do is counted", 60)


def undisturbed(stack: Stack) -> Shown:
    """What one process finds that nobody disturbs, with the same image."""
    words = f"run --profile tdp --programs {PLAN.programs} --seed 1 --jobs 1 --db sqlite:///alone.db"
    script = f"cd /tmp; mmufuzz {words} >&2 || [ $? = 1 ]; base64 alone.db"
    file = stack.folder / "alone.db"
    stack.compose(f"run --rm -T --no-deps --entrypoint sh worker -c '{script}' | base64 --decode > {file}")
    return shown_in(Store(open_database(f"sqlite:///{file}")), 1)


def goes_on(batches: Callable[[], int]) -> Callable[[], bool]:
    """Have some more been stored than now?"""
    before = batches()
    return lambda: batches() > before + 5


def disturbed(stack: Stack, engine: Engine) -> FleetStatus:
    """A campaign while a worker, the database and the broker die; how it ended."""
    words = f"--profile tdp --programs {PLAN.programs} --batch-programs {PLAN.batch_programs} --seed 1 --name disturbed"
    stack.compose(f"run --rm -T --no-deps campaign campaign create {words}")
    fleets = Fleets(engine)
    number = fleets.statuses(1)[0].campaign.id
    assert number == DISTURBED

    def batches() -> int:
        with suppress(StoreUnavailable):  # its connections died with the database
            return fleets.status(number).batches
        return -1

    disasters: dict[str, Callable[[], object]] = {
        "a worker's container killed": lambda: stack.kill(stack.containers("worker")[0]),
        "the database's container restarted": lambda: stack.compose("restart database"),
        "the database's container killed": lambda: stack.kill(stack.containers("database")[0]),
        "the broker's container killed, and all messages with it": lambda: stack.kill(stack.containers("broker")[0]),
    }
    for name, disaster in disasters.items():
        wait_until(goes_on(batches), "the campaign goes on", 300)
        with step(f"{name} at {batches()} of {PLAN.batches} batches"):
            disaster()
    wait_until(lambda: len(stack.containers("worker")) == 2, "the killed worker was started again", 60)
    assert batches() < PLAN.batches, "everything happened while it was running"

    def finished() -> bool:
        with suppress(StoreUnavailable):
            return fleets.status(number).campaign.state is CampaignState.FINISHED
        return False

    wait_until(finished, "the campaign recovers and ends", 600)
    return fleets.status(number)


def nothing_lost(stack: Stack) -> None:
    """As many batches, programs and findings as one process has that nobody disturbs, none twice, none left over."""
    stack.compose("run --rm -T --no-deps campaign campaign stop 1")
    with step(f"{PLAN.programs} programs by one process, undisturbed"):
        expected = undisturbed(stack)
    engine = stack.engine()
    with step(f"{PLAN.programs} programs by two workers, disturbed"):
        status = disturbed(stack, engine)
    wrong = wrongs(engine, PLAN, status, expected)
    assert not wrong, "\n".join(wrong)
    print(f"           {status.batches} batches, {status.findings} findings, {status.redeliveries} tasks begun again")
    engine.dispose()


def as_documented(stack: Stack) -> None:
    """Keep the database, lose it, get it back, by the commands of docs/operating.md."""

    def kept() -> tuple[Shown, int]:
        engine = stack.engine()
        found = shown_in(Store(engine), DISTURBED), len(Store(engine).campaigns())
        engine.dispose()
        return found

    before = kept()
    with step("backup as documented"):
        for command in commands_of("Backup"):
            stack.shell(command)
    stack.compose("run --rm -T --no-deps campaign campaign create --programs 1 --name lost")
    assert kept()[1] == before[1] + 1
    with step("restore as documented"):
        for command in commands_of("Restore"):
            stack.shell(command)
    assert kept() == before
    with step("tables back and forward"):
        for command in commands_of("Upgrade")[2:]:
            stack.shell(command)
        stack.compose("up --detach --no-build")
        wait_until(lambda: bool(stack.ask("/campaigns")), "the dashboard answers", 120)
    assert kept() == before


def again(stack: Stack) -> None:
    """Down and up: everything is there, and no second search was created."""
    before = [row["name"] for row in stack.ask("/campaigns")["campaigns"]]
    with step("down, and up again"):
        stack.compose("down --timeout 60")
        stack.compose("up --detach --no-build")
        wait_until(lambda: bool(stack.ask("/campaigns")), "the dashboard answers", 120)
    assert [row["name"] for row in stack.ask("/campaigns")["campaigns"]] == before


def scenario(folder: Path, cache: Path) -> None:
    """Everything, in order.  Raises AssertionError, CalledProcessError."""
    with running_daemon(folder) as daemon:
        with step("stand-ins for the official images"):
            make_bases(daemon, cache)
        with step("the image, core compiled"):
            make_image(daemon)
        stack = Stack(daemon, folder)
        try:
            first_finding(stack)
            with step("every container is confined"):
                confined(stack)
            with step("--scale worker=2"):
                scaled(stack)
            nothing_lost(stack)
            as_documented(stack)
            again(stack)
        except BaseException:
            with suppress(subprocess.SubprocessError):
                print(stack.compose("ps"), stack.compose("logs --tail 20"), sep="\n", file=sys.stderr)
            raise
        with step("down"):
            stack.compose("down --volumes --timeout 30")


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    default=ROOT / "build" / "deploy",
    help="Keeps Debian and the wheels for the next run [default: build/deploy].",
)
def main(cache: Path) -> None:
    """Exit code 1 if something is not as it must be, 2 if this host lacks a tool."""
    lacking = [tool for tool in (*_TOOLS, compose_command().split()[0]) if shutil.which(tool) is None]
    if lacking or os.geteuid() != 0:
        print(f"needs root, and {', '.join(lacking) or 'nothing else'}", file=sys.stderr)
        raise SystemExit(2)
    began = time.monotonic()
    # A short name: the path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="mmufuzz-"))
    try:
        scenario(folder, cache)
    except (AssertionError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or ""
        print(f"{error}\n{said[-4000:]}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{time.monotonic() - began:7.1f} s  all is as it must be")


if __name__ == "__main__":
    main()
