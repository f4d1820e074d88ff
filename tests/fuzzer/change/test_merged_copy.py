# SPDX-License-Identifier: GPL-2.0-only
"""A merged copy does what two copies do: interpreted here, compiled in tests/cli/test_apply.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fuzzer.change.merged_copy import merged_copy
from fuzzer.change.variant import changed_models
from fuzzer.run.compare import Models
from tests.changes import METHOD, NO_FLUSH, as_diff, changed, taken_back
from tests.many_programs import digests

ROOT = Path(__file__).parents[3]
CRASH = as_diff(changed("kvm/flush.py", "    kvm.record(EV_FLUSH, i64(0))\n", "    kvm.uid // 0\n"))
IN_PLACE = taken_back(changed("kvm/mmu_notifier.py", "        if flush:\n", "        if False:\n"))
# What a process prints that has imported such a copy. Of the tests it imports only what reads no sources.
SCRIPT = """
import sys
from fuzzer.change.merged_copy import merged_models
from tests.many_programs import digests
print(*digests(merged_models(sys.stdin.read())))
"""


def digests_in(folder: Path, diff: str) -> list[str]:
    """The same in a process that imports the packages from there."""
    environment = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "MMUFUZZ_CORE": "interpreted"}
    command = [sys.executable, "-P", "-c", SCRIPT]
    run = subprocess.run(command, env=environment, input=diff, capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.fixture(scope="module")
def unchanged() -> list[str]:
    return digests(Models())


@pytest.mark.slow
@pytest.mark.parametrize("diff", [NO_FLUSH, CRASH, METHOD, IN_PLACE], ids=["function", "crash", "method", "in place"])
def test_a_merged_copy_does_what_two_copies_do(diff: str, unchanged: list[str]) -> None:
    with merged_copy(diff) as folder:
        shown = digests_in(folder, diff)
    expected = digests(changed_models(diff))
    assert shown == expected
    assert expected != unchanged
    assert not folder.exists()
