# SPDX-License-Identifier: GPL-2.0-only
"""Program of the child process that replays a reproducer from anywhere: file on standard input, trace on standard
output; a line on standard error and exit code 2 if it cannot be replayed.

    python -m dashboard.replay_child CPU_SECONDS MEGABYTES

It takes its limits before it reads a byte, and never runs a change of the model that a file brings along.
"""

import resource
import sys


def limit(cpu_seconds: int, megabytes: int) -> None:
    """Processor time and memory as told; no file written, no process started, no core dumped."""
    memory = megabytes << 20
    for what, most in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(what, (most, most))


def main() -> int:
    limit(int(sys.argv[1]), int(sys.argv[2]))
    from fuzzer.compiled import CoreError, use_compiled_core

    try:
        use_compiled_core()
    except CoreError as error:
        print(error, file=sys.stderr)
        return 2
    from fuzzer.export.envelope import reproducer_bytes
    from fuzzer.export.trace_json import encode_trace, make_trace
    from fuzzer.reproducer import ReproducerError, decode_reproducer

    try:
        reproducer = decode_reproducer(reproducer_bytes(sys.stdin.buffer.read()))
        if reproducer.diff:
            raise ReproducerError("it brings a change of the model, which is code: replay it with 'mmufuzz replay'")
        sys.stdout.buffer.write(encode_trace(make_trace(reproducer)))
    except (ReproducerError, MemoryError, RecursionError) as error:
        text = "it needs more memory than a replay may have" if isinstance(error, MemoryError) else str(error)
        print(" ".join(text.split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
