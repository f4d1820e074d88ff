# SPDX-License-Identifier: GPL-2.0-only
"""The compiled core: the hot modules as mypyc extensions, kept away from their sources.

An extension beside its source hides the source: somebody edits three lines of the model, runs again and sees the old
behaviour. So a core lives in a directory named after a fingerprint of everything it was made from, and is used only
while the fingerprint still matches; otherwise the same modules run interpreted, and `CoreState` says why. A new core is
made in a few seconds, since modules whose C is the same are only linked again: `fuzzer.core`.

`python -m fuzzer.compiled` compiles; `use_compiled_core()` is called once per process before any core module loads.
"""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

import msgspec

# One shared library, so that calls between these modules are C calls. A module that defines msgspec Structs, records
# among them, stays interpreted: mypyc cannot build their classes.
_STRUCTS: Final = re.compile(r"^(import msgspec|from (msgspec|reference_mmu\.record|\.+record) )", re.MULTILINE)
COMPILED: Final = (
    "reference_mmu/**/*.py",
    "fuzzer/program/rng.py",
    "fuzzer/program/generate.py",
    "fuzzer/program/script.py",
    "fuzzer/schedule/*.py",
    "fuzzer/run/drive.py",
    "fuzzer/run/model.py",
    "fuzzer/run/execute.py",
    "fuzzer/run/lockstep.py",
    "fuzzer/run/differential.py",
    "fuzzer/run/outcome.py",
    "fuzzer/run/coverage.py",
    "fuzzer/change/applied.py",
    "fuzzer/change/changed_model.py",
    "fuzzer/oracle/*.py",
)
PACKAGES: Final = ("reference_mmu", "fuzzer")
CORES_KEPT: Final = 6  # that of the sources, and of changes that are tried; 7 MB each
# Beside the cores: what they are linked from, so that only what has changed is compiled.
OBJECTS: Final = ".objects"
_CORES: Final = "mmufuzz_core"  # where there is no checkout
# A value of MMUFUZZ_CORE that a command with a changed model starts itself anew with: interpreted, until that one is
# compiled.
LATER: Final = "later"
SUFFIX: Final[str] = sysconfig.get_config_var("EXT_SUFFIX")
ADVICE: Final = "compile it with `make compile` or `python -m fuzzer.compiled`"


class CoreError(RuntimeError):
    """The core cannot be used or built as asked; the message is one line, the compiler's own words may follow."""


class CoreState(msgspec.Struct, frozen=True):
    """Whether the core modules of this process run compiled, and in one line why or why not."""

    compiled: bool
    reason: str
    core: str = ""
    """The name of the core."""


class CoreFinder(MetaPathFinder):
    """Finds the extensions of one core, ahead of the sources.

    A finder and not an entry in `__path__`: a subpackage such as fuzzer.schedule is found by its `__init__.py` and
    would look for its modules only there.
    """

    def __init__(self, core: Path) -> None:
        found = sorted(core.rglob(f"*{SUFFIX}"))
        self.files = {".".join(file.relative_to(core).parts).removesuffix(SUFFIX): file for file in found}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        file = self.files.get(fullname)
        return importlib.util.spec_from_file_location(fullname, file) if file else None


def use_compiled_core() -> CoreState:
    """Put the compiled core, if there is one for exactly these sources, in front of the interpreted modules.

    The environment variable MMUFUZZ_CORE decides: `interpreted`, `compiled` (or fail) or `auto`, the default. Call it
    before the first import of a core module, also in a child process that was not forked; later calls only repeat the
    first answer.

    Raises CoreError: the variable has another value; `compiled` is asked for and there is no core for these sources;
    a core module has been imported already, so that the process would run half compiled.
    """
    return _choose_core(os.environ.get("MMUFUZZ_CORE", "auto"))


@cache
def _choose_core(mode: str) -> CoreState:
    if mode not in ("auto", "compiled", "interpreted", LATER):
        raise CoreError(f"MMUFUZZ_CORE={mode}: must be auto, compiled or interpreted")
    if mode in ("interpreted", LATER):
        return CoreState(False, "interpreted: asked for by MMUFUZZ_CORE")
    sources = _package_folders()
    early = sorted(set(map(_module_name, _core_files(sources))) & sys.modules.keys())
    if early:
        raise CoreError(f"the core must be chosen before it is imported, and {early[0]} is imported already")
    core = _cores() / _fingerprint(sources)
    if core.is_dir():
        with suppress(OSError):  # where nobody but root may write
            core.touch()  # else it would be old when others have been compiled for a few changes
        sys.meta_path.insert(0, CoreFinder(core))
        return CoreState(True, f"compiled: core {core.name}", core.name)
    why = "the sources changed since the core was compiled" if any(_cores().glob("[!.]*")) else "no core was compiled"
    if mode == "compiled":
        raise CoreError(f"MMUFUZZ_CORE=compiled: {why}; {ADVICE}")
    return CoreState(False, f"interpreted: {why}; {ADVICE}")


def core_to_compile() -> Path | None:
    """Where the core of the sources as they are now will be, if this process is interpreted for want of it alone: None
    if it was asked to be, and where there is nothing to compile with."""
    if os.environ.get("MMUFUZZ_CORE", "auto") != "auto" or use_compiled_core().compiled or why_not_compile():
        return None
    return _cores() / _fingerprint(_package_folders())


def why_not_compile() -> str:
    """Why this process may not have anything compiled, "" if it may."""
    if os.environ.get("MMUFUZZ_CORE", "auto") not in ("auto", LATER):
        return "asked for by MMUFUZZ_CORE"
    try:
        require_compiler()
    except CoreError as error:
        return str(error)
    return ""


@contextmanager
def copied_packages(edits: Mapping[str, str]) -> Iterator[Path]:
    """A folder with both packages, some of whose files (path -> text) are others, for as long as the block lasts. Its
    core is kept where all are. Raises OSError where cores cannot be kept."""
    _cores().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cores(), prefix=".copy-") as name:
        folder = Path(name)
        _copy_packages(folder)
        for path, text in edits.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        (folder / _CORES).symlink_to(_cores(), target_is_directory=True)
        yield folder


def core_of_copy(folder: Path) -> Path:
    """Where the core of such a copy is, or will be."""
    return _cores() / _fingerprint({name: folder / name for name in PACKAGES})


def compile_core() -> tuple[Path, int]:
    """Compile the core of the sources as they are now; return its directory and how many modules it has.

    Works on a snapshot, proves in a fresh interpreter that every module loads, and only then moves the result into
    place: a reader finds a whole core or none. A core that is there already is left alone.

    Raises CoreError: no compiler, or mypyc, the C compiler or the loading of the result failed.
    """
    _cores().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cores(), prefix=".building-") as scratch:
        snapshot = _copy_packages(Path(scratch, "sources"))
        files = _core_files(snapshot)
        core = _cores() / _fingerprint(snapshot)
        if not core.is_dir():
            require_compiler()
            print(f"compiling the core, {len(files)} modules: the first time takes half a minute or more", flush=True)
            built = Path(scratch, "core")
            _build(Path(scratch, "sources"), [str(file) for file in files], built)
            _require_loads(Path(scratch, "sources"), built, [_module_name(file) for file in files])
            # Somebody else may have been faster with the same core: then theirs stays.
            if not core.is_dir():
                built.rename(core)
            _drop_old_cores()
        return core, len(files)


def main() -> int:
    """Compile and say how long it took, or why it could not be done (exit code 1)."""
    start = time.monotonic()
    # Else what is half done would stay where cores are kept.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        core, modules = compile_core()
    except (CoreError, OSError) as error:
        print(f"core not compiled, everything runs interpreted: {error}", file=sys.stderr)
        return 1
    print(f"core {core.name}: {modules} modules, ready in {time.monotonic() - start:.1f} s")
    return 0


def _package_folders() -> dict[str, Path]:
    """Where the two packages are imported from: with a patched copy of the model, not the same parent."""
    return {name: Path(importlib.import_module(name).__path__[0]).resolve() for name in PACKAGES}


def _copy_packages(target: Path) -> dict[str, Path]:
    """Copy the sources of both packages; where each is then."""
    copies = {name: target / name for name in PACKAGES}
    for name, folder in _package_folders().items():
        shutil.copytree(folder, copies[name], ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return copies


def _cores() -> Path:
    """Where cores are kept, never inside the packages: build/core of a checkout, or beside installed packages."""
    parent = Path(__file__).resolve().parent.parent
    return parent / "build" / "core" if (parent / "pyproject.toml").exists() else parent / _CORES


def _core_files(folders: dict[str, Path]) -> list[Path]:
    """The modules to compile, as paths relative to the parent of their package."""
    files: set[Path] = set()
    for pattern in COMPILED:
        package, below = pattern.split("/", 1)
        for file in folders[package].glob(below):
            if file.name != "__init__.py" and not _STRUCTS.search(file.read_text(encoding="utf-8")):
                files.add(Path(package, file.relative_to(folders[package])))
    return sorted(files)


def _module_name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts)


def _fingerprint(folders: dict[str, Path]) -> str:
    """Digest of all a core depends on.

    Every module of both packages counts, not only the compiled ones: mypyc copies constants out of the modules that a
    compiled one imports. librt counts because its C interface is compiled in, the suffix for interpreter and platform.
    """
    digest = hashlib.sha256(f"{SUFFIX} {importlib.metadata.version('librt')}".encode())
    for name, folder in sorted(folders.items()):
        for file in sorted(folder.rglob("*.py")):
            text = file.read_bytes()
            digest.update(f"\n{name}/{file.relative_to(folder).as_posix()} {len(text)}\n".encode() + text)
    return digest.hexdigest()[:16]


def require_compiler() -> None:
    """Raise CoreError, in one line, if nothing can be compiled here."""
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        raise CoreError(f"there is no C compiler ({compiler})")
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise CoreError(f"the headers of Python {sys.version_info.major}.{sys.version_info.minor} are not installed")
    if importlib.util.find_spec("mypyc") is None:
        raise CoreError("mypy is not installed")


def _build(sources: Path, files: list[str], built: Path) -> None:
    """Compile `files` in the snapshot and collect the extensions under `built`."""
    command = [sys.executable, "-m", "fuzzer.core.build", str(_cores() / OBJECTS), str(built), *files]
    run = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    if run.returncode:
        raise CoreError(f"mypyc failed\n{run.stdout}{run.stderr}".rstrip())


def _require_loads(sources: Path, core: Path, modules: list[str]) -> None:
    """What compiles may still fail when imported: some rules are checked only then."""
    script = (
        "import sys, importlib, pathlib\n"
        "from fuzzer.compiled import CoreFinder\n"
        "sys.meta_path.insert(0, CoreFinder(pathlib.Path(sys.argv[1])))\n"
        "for name in sys.argv[2:]:\n"
        "    importlib.import_module(name)\n"
    )
    command = [sys.executable, "-c", script, str(core), *modules]
    run = subprocess.run(command, cwd=sources, capture_output=True, text=True)
    if run.returncode:
        raise CoreError(f"the compiled modules do not load\n{run.stderr}".rstrip())


def _drop_old_cores() -> None:
    finished = [core for core in _cores().iterdir() if not core.name.startswith(".")]
    for core in sorted(finished, key=lambda path: path.stat().st_mtime)[:-CORES_KEPT]:
        shutil.rmtree(core)


if __name__ == "__main__":
    sys.exit(main())
