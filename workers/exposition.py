# SPDX-License-Identifier: GPL-2.0-only
"""/metrics of a worker: what all its processes have counted, served by the parent of them."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Final

from workers.refusal import BadInput, refuse

# Read by the library when it is imported, and nowhere documented as anything but an environment variable.
_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"


class Exposition:
    """The server of one worker, None if it has none."""

    server: ThreadingHTTPServer | None = None

    @classmethod
    def leave(cls) -> None:
        """Called in a forked process: it must not keep the port when its parent is gone."""
        if cls.server is not None:
            cls.server.socket.close()


@contextmanager
def exposition(address: str, port: int) -> Iterator[None]:
    """Serve /metrics there during the block; port 0 serves nothing.  Raises BadInput.

    To be entered before `workers.metrics` is imported.
    """
    if port == 0:
        yield
        return
    with refuse(
        OSError, OverflowError, what=f"metrics cannot be served at {address}:{port}", advice="set MMUFUZZ_METRICS_PORT"
    ):
        server = Exposition.server = ThreadingHTTPServer((address, port), _Handler)
    # Only now: whoever has the port has the files.
    os.environ[_FOLDER] = str(_empty_folder(port))
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def bury_the_dead() -> None:
    """Forget the gauges of processes that were killed; what they counted stays."""
    folder = os.environ.get(_FOLDER)
    if folder is None:
        return
    from prometheus_client.multiprocess import mark_process_dead

    pids = {int(file.stem.rpartition("_")[2]) for file in Path(folder).glob("gauge_live*_*.db")}
    for pid in pids:
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def metrics_text() -> bytes:
    """All metrics in the text format of Prometheus."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def _empty_folder(port: int) -> Path:
    """A folder for the files of the processes, without those of an earlier worker.  Raises BadInput."""
    folder = Path(tempfile.gettempdir()) / f"mmufuzz-metrics-{os.getuid()}-{port}"
    advice = "remove it, or set TMPDIR"
    with refuse(OSError, what=f"metrics cannot be kept in {folder}", advice=advice):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise BadInput(f"metrics cannot be kept in {folder}: it belongs to somebody else; {advice}")
        for file in folder.glob("*.db"):
            file.unlink()
    return folder


class _Handler(BaseHTTPRequestHandler):
    """Answers GET /metrics and nothing else."""

    timeout = 10
    server_version = "mmufuzz"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

        body = metrics_text()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is no event."""
