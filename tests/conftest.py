# SPDX-License-Identifier: GPL-2.0-only
"""Tests run interpreted, where coverage, pdb and monkeypatching work; MMUFUZZ_CORE=compiled runs them compiled."""

import os
import shutil
from collections.abc import Generator
from pathlib import Path

os.environ.setdefault("MMUFUZZ_CORE", "interpreted")

import pytest
from hypothesis import settings
from xdist.remote import Producer  # type: ignore[import-untyped]

from fuzzer.compiled import CoreError, require_compiler, use_compiled_core
from tests.sharing import Groups, rank

CORE = use_compiled_core()
CHROMIUM = Path("/usr/bin/chromium")

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


def missing() -> dict[str, str]:
    """Why tests with a marker cannot run here, by marker; empty when all can."""
    reasons = {
        "compiler": missing_compiler(),
        "browser": "" if CHROMIUM.exists() else f"there is no {CHROMIUM}",
        "promtool": "" if shutil.which("promtool") else "there is no promtool",
    }
    return {marker: reason for marker, reason in reasons.items() if reason}


def pytest_report_header() -> list[str]:
    left_out = [f"tests marked `{marker}` are left out: {reason}" for marker, reason in missing().items()]
    return [f"core: {CORE.reason}", *left_out]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups:
    return Groups(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and leave out what needs a tool where there is none: the project promises to run
    without."""
    items.sort(key=lambda item: rank(item.nodeid))
    markers = missing()
    left_out = [item for item in items if any(item.get_closest_marker(marker) for marker in markers)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """A test marked `reaches` fails unless it shows all that its mark names."""
    promised = {name for mark in pyfuncitem.iter_markers("reaches") for name in mark.args}
    if not promised or CORE.compiled:
        return (yield)
    from tests.reached import recorded  # not before the core is chosen, and not for tests of other things

    with recorded() as seen:
        result = yield
    if promised - seen:
        pytest.fail(f"marked as reaching {sorted(promised - seen)}, and shows {sorted(seen)}")
    return result
