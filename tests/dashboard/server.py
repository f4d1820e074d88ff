# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz dashboard` in a process of its own, over the database that is in a folder."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from tests.cli.shell import COMMAND, environment
from tests.dashboard.site import SECRET


class Server(NamedTuple):
    """A server that answers; `said` is what it wrote to standard error so far."""

    port: int
    folder: Path
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(folder: Path, **variables: str) -> Iterator[Server]:
    """Until the end of the block, which the server may leave earlier. Nobody asks too often."""
    secret = folder / "admin.token"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*COMMAND, "dashboard", "--token-file", "admin.token", "--port", str(port)],
        cwd=folder,
        env=environment() | {"MMUFUZZ_REQUESTS_AT_ONCE": "100000"} | variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "Uvicorn running" in line:
            break
    # A pipe that nobody empties would stop the server.
    reader = Thread(target=said.extend, args=(process.stderr,))
    reader.start()
    try:
        yield Server(port, folder, process, said)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(30)
        reader.join()
        process.stderr.close()
