# SPDX-License-Identifier: GPL-2.0-only
"""A Docker daemon of its own: private socket and data, gone afterwards with everything that ran in it."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.service.waiting import wait_until


class Daemon:
    """Runs `docker` against the daemon in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = f"unix://{folder / 'docker.sock'}"

    def docker(self, *words: str) -> str:
        """Its output.  Raises CalledProcessError."""
        return self._run(*words).stdout

    def answers(self) -> bool:
        try:
            return bool(self.docker("version"))
        except subprocess.CalledProcessError:
            return False

    def build(self, context: Path, *options: str) -> None:
        """Build an image without any network, by the builder that every Docker has."""
        self._run("build", "--quiet", "--network=none", *options, str(context), DOCKER_BUILDKIT="0")

    def _run(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"DOCKER_HOST": self.host} | variables
        done = subprocess.run(["docker", *words], env=environment, capture_output=True, text=True)
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, ["docker", *words], done.stdout, done.stderr)
        return done


@contextmanager
def running_daemon(folder: Path) -> Iterator[Daemon]:
    """A daemon whose data is below `folder`; afterwards its containers, networks and data are gone."""
    daemon = Daemon(folder)
    words = [f"--host={daemon.host}", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}"]
    words += [f"--pidfile={folder / 'docker.pid'}", "--bridge=none"]
    with open(folder / "dockerd.log", "wb") as log:
        process = subprocess.Popen(["dockerd", *words], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until(daemon.answers, f"dockerd answers, see {log.name}", seconds=60)
        yield daemon
    finally:
        with suppress(subprocess.CalledProcessError):
            containers = daemon.docker("ps", "--all", "--quiet").split()
            if containers:
                daemon.docker("rm", "--force", "--volumes", *containers)
            # The rules that it made for them go with them.
            daemon.docker("network", "prune", "--force")
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
