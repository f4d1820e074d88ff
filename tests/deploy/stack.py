# SPDX-License-Identifier: GPL-2.0-only
"""deploy/compose.yaml brought up in a daemon, seen from outside: by docker-compose, by HTTP, and in the database."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db.session import open_database
from tests.deploy.daemon import Daemon
from tests.deploy.files import DEPLOY

_FILES = (DEPLOY / "compose.yaml", DEPLOY / "shared.yaml", Path(__file__).parent / "without-grafana.yaml")

# One that waits for a service which never becomes healthy would wait for ever.
_COMMAND_SECONDS_MAX = 600


class Stack:
    """One project.  Its secrets and what it writes are in `folder`; its ports are free ones of this host."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self.daemon = daemon
        self.folder = folder
        self.secrets = folder / "secrets"
        names = ("DASHBOARD", "PROMETHEUS", "DATABASE", "BROKER")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.variables = {
            "DOCKER_HOST": daemon.host,
            "COMPOSE_FILE": os.pathsep.join(map(str, _FILES)),
            "MMUFUZZ_SECRETS": str(self.secrets),
            "MMUFUZZ_SHARED_ADDRESS": "127.0.0.1",
            **{f"MMUFUZZ_{name}_PORT": str(port) for name, port in self.ports.items()},
        }
        subprocess.run([DEPLOY / "secrets.sh", self.secrets], check=True, stdout=subprocess.DEVNULL)

    def compose(self, *words: str) -> str:
        """What docker-compose prints.  Raises CalledProcessError."""
        return self.shell(f"docker compose -f deploy/compose.yaml {' '.join(words)}")

    def shell(self, command: str) -> str:
        """Run a line of the documentation in the folder; the old docker-compose takes the same words."""
        # All of the stack's files stand in COMPOSE_FILE.
        line = command.replace("docker compose -f deploy/compose.yaml", f"{compose_command()} --ansi never")
        environment = os.environ | self.variables
        words = ["sh", "-ec", line]
        done = subprocess.run(
            words, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=_COMMAND_SECONDS_MAX
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, line, done.stdout, done.stderr)
        return done.stdout

    def containers(self, service: str) -> list[str]:
        """Of those that run."""
        label = f"label=com.docker.compose.service={service}"
        return self.daemon.docker("ps", "--quiet", "--filter", label, "--filter", "status=running").split()

    def inspect(self, container: str) -> Any:
        return json.loads(self.daemon.docker("inspect", container))[0]

    def kill(self, container: str) -> None:
        """Its first process dies, as it does when the kernel runs out of memory; Docker may start it again."""
        os.kill(self.inspect(container)["State"]["Pid"], signal.SIGKILL)

    def ask(self, path: str) -> Any:
        """An answer of the dashboard's API to the administrator; None while there is none."""
        token = (self.secrets / "admin_token").read_text(encoding="ascii")
        return get(f"{self.dashboard()}/api/v1{path}", {"Authorization": f"Bearer {token}"})

    def refuses_strangers(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.dashboard()}/api/v1/findings", timeout=10)
        except urllib.error.HTTPError as error:
            return error.code == HTTPStatus.UNAUTHORIZED
        return False

    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports['DASHBOARD']}"

    def query(self, expression: str) -> float | None:
        """The value of an expression in Prometheus; None if it has none."""
        words = urllib.parse.urlencode({"query": expression})
        answer = get(f"http://127.0.0.1:{self.ports['PROMETHEUS']}/api/v1/query?{words}", {})
        result = answer["data"]["result"] if answer else []
        return float(result[0]["value"][1]) if result else None

    def engine(self) -> Engine:
        """The database, at the port that deploy/shared.yaml opens."""
        url = (self.secrets / "database_url").read_text(encoding="ascii").strip()
        return open_database(url.replace("@database/", f"@127.0.0.1:{self.ports['DATABASE']}/"))


def get(url: str, headers: dict[str, str]) -> Any:
    """The JSON at a URL; None if nobody listens there, or not yet."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def compose_command() -> str:
    """The old one where it is installed: it knows the least."""
    return "docker-compose" if shutil.which("docker-compose") else "docker compose"


def free_ports(count: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return ports
