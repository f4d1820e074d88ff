# SPDX-License-Identifier: GPL-2.0-only
"""Tests run interpreted, where coverage, pdb and monkeypatching work; MMUFUZZ_CORE=compiled runs them compiled."""

import os

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

import pytest
from hypothesis import settings

from fuzzer.compiled import CoreError, require_compiler, use_compiled_core

CORE = use_compiled_core()

# A red test must be red again on the next machine: no random choice of examples, no wall-clock limit.
settings.register_profile("mmufuzz", derandomize=True, deadline=None)
settings.load_profile("mmufuzz")


def missing_compiler() -> str:
    """Why nothing can be compiled here; empty when it can."""
    try:
        require_compiler()
    except CoreError as error:
        return str(error)
    return ""


def pytest_report_header() -> list[str]:
    missing = missing_compiler()
    return [f"core: {CORE.reason}", *([f"tests marked `compiler` are left out: {missing}"] if missing else [])]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a C compiler where there is none: the project promises to run without."""
    if missing_compiler():
        left_out = [item for item in items if item.get_closest_marker("compiler")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
