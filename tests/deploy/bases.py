# SPDX-License-Identifier: GPL-2.0-only
"""Stand-ins for the official images, made of Debian's packages and tagged with the names that deploy/ asks for.

What takes long is kept in a folder between runs: Debian as a tar file, the Python packages of the image as wheels.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.deploy.daemon import Daemon
from tests.deploy.files import DEPLOY, ROOT, services

_STANDINS: Final = Path(__file__).parent / "standins"
_RELEASE: Final = "bookworm"
_PYTHON: Final = "3.11.2"
_PACKAGES: Final = (
    *("ca-certificates", "gcc", "libc6-dev", "postgresql", "prometheus", "python-is-python3"),
    *("python3-dev", "python3-pip", "python3-venv", "redis-server", "wget"),
)
_TARGETS: Final = {"database": "postgres", "broker": "redis", "prometheus": "prometheus"}
"""The service whose image each stand-in is."""


def python_bases() -> list[str]:
    """The images that deploy/Dockerfile starts from."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    return re.findall(r"^ARG (?:BUILD_)?BASE=(\S+)$", text, re.MULTILINE)


def make_bases(daemon: Daemon, cache: Path) -> None:
    """Every base image, in the daemon."""
    cache.mkdir(parents=True, exist_ok=True)
    daemon.docker("import", str(_debian(cache)), "mmufuzz-debian")
    wanted = [("python", tag) for tag in python_bases()]
    wanted += [(target, services()[service]["image"]) for service, target in _TARGETS.items()]
    for target, tag in wanted:
        daemon.build(_STANDINS, f"--target={target}", f"--tag={tag}")


def make_image(daemon: Daemon) -> None:
    """The image of mmufuzz as deploy/Dockerfile has it."""
    daemon.build(ROOT, f"--file={DEPLOY / 'Dockerfile'}", "--tag=mmufuzz:latest")


def _debian(cache: Path) -> Path:
    """A tar file of Debian with the servers, a compiler, Python and the wheels."""
    archive = cache / f"{_RELEASE}.tar"
    wheels = _wheels(cache)
    if archive.exists() and archive.stat().st_mtime > wheels.stat().st_mtime:
        return archive
    with tempfile.TemporaryDirectory(dir=cache, prefix="debian-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _run("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", _RELEASE, name)
        _run("cp", "--recursive", str(wheels), str(folder / "wheels"))
        for waste in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "proc", "sys", "dev"):
            _run("find", str(folder / waste), "-mindepth", "1", "-delete")
        _run("tar", "--create", "--file", str(archive), "--directory", name, ".")
    return archive


def _wheels(cache: Path) -> Path:
    """A folder with the wheels of deploy/requirements.txt."""
    wheels, pins = cache / "wheels", DEPLOY / "requirements.txt"
    if not wheels.exists() or wheels.stat().st_mtime < pins.stat().st_mtime:
        # pip judges conditions by the Python that runs it, whatever --python-version says: take all that may be needed.
        unconditional = cache / "requirements.txt"
        unconditional.write_text(re.sub(r" ; python_full_version [^\\]*", " ", pins.read_text(encoding="utf-8")))
        options = ["--quiet", "--only-binary=:all:", f"--python-version={_PYTHON}", "--require-hashes", "--no-deps"]
        words = ["--requirement", str(unconditional), "--dest", str(wheels)]
        _run(sys.executable, "-m", "pip", "download", *options, *words)
        wheels.touch()
    return wheels


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
