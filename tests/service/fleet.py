# SPDX-License-Identifier: GPL-2.0-only
"""Real worker processes on real servers, and what one can see of them from outside."""

import json
import os
import signal
import subprocess
from contextlib import chdir
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner, Result
from sqlalchemy import Engine

from cli.main import cli
from db.campaigns import NewCampaign
from db.fleets import FleetPlan, Fleets, FleetStatus
from db.liveness import workers
from db.schema import CampaignState
from db.session import open_database
from db.store import Store
from reference_mmu.version import model_version
from tests.cli.shell import COMMAND, ROOT, environment
from tests.service.servers import Servers
from tests.service.waiting import wait_until
from workers.app import app

# Short, so that a test sees the dispatcher lose its patience.
_TIMES = {"MMUFUZZ_PULSE_SECONDS": "0.5", "MMUFUZZ_RESEND_SECONDS": "3"}


class Worker:
    """A `mmufuzz worker` with its log; all its processes are in one process group."""

    def __init__(self, variables: dict[str, str], folder: Path, slots: int) -> None:
        self.log_file = folder / f"worker-{len(list(folder.glob('worker-*')))}.log"
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "worker", "--slots", str(slots)],
                cwd=folder,
                env=variables,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> list[Any]:
        """The events so far."""
        lines = self.log_file.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def events(self, event: str) -> list[Any]:
        return [entry for entry in self.log() if entry["event"] == event]

    def kill(self) -> None:
        """All its processes at once, as a power cut does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def search_processes(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(child) for child in children.split()]


class Fleet:
    """A database, the broker, and the workers that a test starts. Leaving it kills the workers."""

    def __init__(self, servers: Servers, folder: Path) -> None:
        self.servers = servers
        self.folder = folder
        self.url = servers.new_database()
        self.engine: Engine = open_database(self.url)
        self.fleets = Fleets(self.engine)
        self.store = Store(self.engine)
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()
        self.engine.dispose()

    def variables(self, sources: Path = ROOT) -> dict[str, str]:
        places = {"MMUFUZZ_BROKER": self.servers.broker.url, "MMUFUZZ_DATABASE": self.url}
        return environment(sources, "interpreted") | places | _TIMES

    def start_worker(self, slots: int = 1, sources: Path = ROOT, **variables: str) -> Worker:
        worker = Worker(self.variables(sources) | variables, self.folder, slots)
        self.workers.append(worker)
        return worker

    def mmufuzz(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a user of this fleet, in a process of its own."""
        return subprocess.run(
            [*COMMAND, *words],
            cwd=self.folder,
            env=self.variables() | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def command(self, *words: str) -> Result:
        """Run a command that needs the database only, in this process: starting one takes longer than the command."""
        with chdir(self.folder):
            return CliRunner(env=self.variables()).invoke(cli, words, catch_exceptions=False)

    def create(self, programs: int, batch_programs: int = 5, name: str = "test", seed: int = 1, **plan: Any) -> int:
        """A campaign of the TDP profile over the series x86-mmu: both series show three times as much."""
        searched = NewCampaign(
            name=name,
            old_spec="no-struct-page",
            new_spec="new",
            profile="tdp",
            seed_first=seed,
            model_version=model_version(),
            budget_programs=programs,
        )
        cut = {"batch_programs": batch_programs, "until_regression": False, "slots_max": None} | plan
        return self.fleets.create(FleetPlan(**cut), searched)

    def send(self, *arguments: object, queue: str, **named: object) -> None:
        """Put a message for workers into a queue."""
        with app.connection_for_write(self.servers.broker.url) as connection:
            app.send_task("mmufuzz.perform", arguments, named, queue=queue, connection=connection)

    def finish(self, campaign: int, seconds: float = 120) -> FleetStatus:
        """Wait until the campaign is finished."""

        def finished() -> bool:
            return self.fleets.status(campaign).campaign.state is CampaignState.FINISHED

        wait_until(finished, f"campaign {campaign} is finished", seconds)
        return self.fleets.status(campaign)

    def live_workers(self) -> list[str]:
        """Their names."""
        return [worker.name for worker in workers(self.engine)]

    def counts(self, campaign: int) -> dict[str, tuple[int, int, int]]:
        """Programs, batches and first seed of every signature."""
        rows = self.store.findings(campaign, limit=10_000)
        return {row.signature: (row.count, row.batches, row.first_seed) for row in rows}
