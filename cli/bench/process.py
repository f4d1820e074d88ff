# SPDX-License-Identifier: GPL-2.0-only
"""A process in which an arm runs: started in a checkout, asked one thing after the other."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final, Self

from workers.refusal import BadInput

_ERROR: Final = re.compile(r"[\w.]+(Error|Exception|NotFound|Interrupt)\b")
RUNNER: Final = Path(__file__).with_name("runner.py")


class ArmProcess:
    """cli/bench/runner.py in the packages of `directory`. A context manager: leaving it ends the process.

    `compiled`, `core`: what runs there. Ctrl-C of the terminal does not reach it, so that a measurement under way ends
    as it would have. Raises BadInput if it does not start, or has ended.
    """

    def __init__(self, directory: Path, variables: dict[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, str(RUNNER), str(self.directory)],
            env=os.environ | (variables or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        started = self._answer()
        self.compiled = bool(started["compiled"])
        self.core = str(started["core"])
        if started["sources"] != [str(self.directory)]:
            self.close()
            raise BadInput(f"{directory} is no checkout: it lacks the packages fuzzer and reference_mmu")

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """The answer to a request of cli/bench/runner.py. Raises BadInput if the process ends instead."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._process.wait()
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines() or ["it said nothing"]
        self.close()
        # What follows the line of an error are notes on it.
        errors = [line for line in said if _ERROR.match(line)]
        raise BadInput(f"{self.directory} cannot be measured: {(errors or said)[-1]}")
