# SPDX-License-Identifier: GPL-2.0-only
"""Program of the child process that runs what comes from anywhere: file on standard input, JSON on standard output; a
line on standard error and exit code 2 if it cannot be run.

    python -m dashboard.replay_child WHAT CPU_SECONDS MEGABYTES

WHAT is trace (of a reproducer, or an export of one), chances (of the same) or search (with a bare program).
It takes its limits before it reads a byte, and never runs a change of the model that a file brings along.
"""

import resource
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fuzzer.reproducer import Reproducer

SCHEDULES: Final = 300
"""How many schedules a bare program is tried under."""
# How many walks tell where a finding became inevitable: in all, and from each of so many steps.
WALKS: Final = 2000
WALKS_MIN: Final = 10
WALKS_MAX: Final = 100
STEPS_MAX: Final = 100


def limit(cpu_seconds: int, megabytes: int) -> None:
    """Take limits: processor time and memory as told; no file written, no process started, no core dumped."""
    memory = megabytes << 20
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(what, (most, most))


def trace(body: bytes, cpu_seconds: int) -> bytes:
    """A reproducer, replayed."""
    from fuzzer.tell.export.trace_json import encode_document, make_document

    return encode_document(make_document(_reproducer(body)))


def chances(body: bytes, cpu_seconds: int) -> bytes:
    """Where the finding of a reproducer became inevitable."""
    from msgspec.json import encode

    from fuzzer.tell.inevitable import chances

    reproducer = _reproducer(body)
    steps = min(len(reproducer.steps) + 1, STEPS_MAX)
    return encode(chances(reproducer, max(WALKS_MIN, min(WALKS_MAX, WALKS // steps)), STEPS_MAX))


def search(body: bytes, cpu_seconds: int) -> bytes:
    """A program, run under many schedules for as long as half of the time lasts: the last minimization needs some."""
    from msgspec.json import encode

    from fuzzer.one_program import search_program
    from fuzzer.program.program import decode_program

    return encode(search_program(decode_program(body), SCHEDULES, lambda: time.process_time() < cpu_seconds / 2))


def _reproducer(body: bytes) -> "Reproducer":
    from fuzzer.reproducer import ReproducerError, decode_reproducer
    from fuzzer.tell.export.envelope import reproducer_bytes

    reproducer = decode_reproducer(reproducer_bytes(body))
    if reproducer.diff:
        raise ReproducerError("it brings a change of the model, which is code: replay it with 'mmufuzz replay'")
    return reproducer


JOBS: Final = {"trace": trace, "chances": chances, "search": search}


def main() -> int:
    job, cpu_seconds = JOBS[sys.argv[1]], int(sys.argv[2])
    limit(cpu_seconds, int(sys.argv[3]))
    from fuzzer.compiled import CoreError, use_compiled_core

    try:
        use_compiled_core()
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    from msgspec import DecodeError

    from fuzzer.reproducer import ReproducerError
    from reference_mmu.config import ConfigError

    try:
        sys.stdout.buffer.write(job(sys.stdin.buffer.read(), cpu_seconds))
    except (ReproducerError, ConfigError, DecodeError, MemoryError, RecursionError) as error:
        text = "it needs more memory than a replay may have" if isinstance(error, MemoryError) else str(error)
        print(" ".join(text.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
