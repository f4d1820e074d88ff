# SPDX-License-Identifier: GPL-2.0-only
"""From modules to extensions: C by mypyc, compiled on all processors, and only where it is new.

    python -m fuzzer.core.build OBJECTS BUILT FILE...

in the folder that the files are relative to. A process of its own, since mypyc goes by the current folder, and ends
the process if a source has an error.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from mypyc.build import mypycify
from setuptools import Distribution, Extension  # type: ignore[import-untyped]
from setuptools.command.build_ext import build_ext  # type: ignore[import-untyped]
from setuptools.errors import CompileError, LinkError  # type: ignore[import-untyped]

from fuzzer.core.objects import Objects
from fuzzer.core.units import independent_units

# Names the library that all modules share. It is part of their C, so it stays the same.
NAME: Final = "core"
_MYPY_OPTIONS: Final = ("--config-file=", "--follow-imports=silent")
# Warnings about generated C help nobody, would be errors, and looking for them is a third of the compiler's time.
# Symbols that nobody outside the core can see are called without a detour: a seventh of the time of a run. A third
# level of optimization gains nothing and takes the compiler longer (docs/decisions/0016). Overflow wraps and asserts
# are off as in the interpreter, whose headers count on it.
_FLAGS: Final = (
    *("-Wno-all", "-w", "-fwrapv", "-DNDEBUG"),
    *("-fvisibility=hidden", "-fno-semantic-interposition", "-fno-plt"),
)
_GENERATED: Final = Path("generated")
_PREFIX: Final = "__native_"


class Build(build_ext):  # type: ignore[misc]
    """Setuptools' own, except that C files are compiled all at once, and those objects used that are there already."""

    folder: Path

    def build_extensions(self) -> None:
        jobs = [(Path(source), extension) for extension in self.extensions for source in extension.sources]
        # The largest first, or one processor ends long after the others.
        jobs.sort(key=lambda job: job[0].stat().st_size, reverse=True)
        options = [*self.extensions[0].extra_compile_args, *_FLAGS]
        objects = Objects(self.folder, [*self.compiler.compiler_so, *options])

        def compiled(job: tuple[Path, Extension]) -> Path:
            return objects.of(job[0], lambda: self._compile(job[0], job[1].include_dirs, options))

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            paths = list(pool.map(compiled, jobs))
        for (_, extension), path in zip(jobs, paths, strict=True):
            extension.sources = []
            extension.extra_objects.append(str(path))
        super().build_extensions()
        objects.drop_old()

    def _compile(self, source: Path, include_dirs: list[str], options: list[str]) -> Path:
        made = self.compiler.compile(
            [str(source)], output_dir=self.build_temp, include_dirs=include_dirs, extra_postargs=options
        )
        return Path(made[0])


def main(objects: str, built: str, *files: str) -> int:
    """Build the extensions of `files` into the folder `built`; the exit code, after the compiler's own words."""
    library, *shims = mypycify(
        [*_MYPY_OPTIONS, *files],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        group_name=NAME,
        target_dir=str(_GENERATED),
    )
    library.sources = _independent(library.sources)
    build = Build(Distribution({"name": NAME, "ext_modules": [library, *shims]}))
    build.build_lib, build.build_temp, build.parallel = built, str(_GENERATED), True
    build.finalize_options()
    build.folder = Path(objects)
    try:
        build.run()
    except (CompileError, LinkError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _independent(sources: list[str]) -> list[str]:
    """The C files of the library, those of its modules made independent of each other: fuzzer.core.units."""
    main_file, headers = f"{_PREFIX}{NAME}.c", (f"{_PREFIX}{NAME}.h", f"{_PREFIX}internal_{NAME}.h")
    texts = {Path(source).name: Path(source).read_text(encoding="utf-8") for source in sources}
    modules = {
        name.removeprefix(_PREFIX).removesuffix(".c"): text
        for name, text in texts.items()
        if name.startswith(_PREFIX) and name != main_file
    }
    header_texts = {name: (_GENERATED / name).read_text(encoding="utf-8") for name in headers}
    written = []
    for name, text in independent_units(header_texts, texts[main_file], modules).items():
        file = _GENERATED / f"unit_{name}.c"
        file.write_text(text, encoding="utf-8")
        written.append(str(file))
    return [*written, *(source for source in sources if not Path(source).name.startswith(_PREFIX))]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
