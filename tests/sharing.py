# SPDX-License-Identifier: GPL-2.0-only
"""Which tests run in one process, one after the other, and in which order processes begin them.

The tests of a file stay together, so that what a fixture makes for a file is made once; so do the files of a group,
which share what takes longer to make than to look at. The longest are begun first, that no process is left alone with
one at the end.
"""

from typing import Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "a fleet": ("tests/service/test_fleet.py",),
    "servers": ("tests/service/",),
    "browser": ("tests/browser/",),
    "a search of the command line": (
        *("tests/cli/test_run.py", "tests/cli/test_replay.py", "tests/cli/test_minimize.py"),
        "tests/cli/test_findings.py",
    ),
    "a search in this process": (
        *("tests/quality/test_minimizer.py", "tests/fuzzer/minimize/test_minimize.py", "tests/fuzzer/test_hunt.py"),
        *("tests/fuzzer/test_reproducer.py", "tests/cli/test_search.py"),
    ),
    "dashboard": ("tests/dashboard/",),
    "proofs": ("tests/fuzzer/prove/test_prove.py",),
    "changes that are compiled": ("tests/cli/test_apply.py",),
}
"""What each group shares, and how the paths of its tests begin: the first that fits counts. They are begun in this
order, before all other files."""
RANKS: Final = {name: rank for rank, name in enumerate(GROUPS)}


def group_of(test: str) -> str:
    """The group of a test, given by its node ID: its file if it is in none."""
    file = test.partition("::")[0]
    return next((name for name, paths in GROUPS.items() if file.startswith(paths)), file)


def rank(test: str) -> int:
    """Tests of a lower rank are begun earlier."""
    return RANKS.get(group_of(test), len(RANKS))


class Groups(LoadScopeScheduling):  # type: ignore[misc]  # its base has no types
    """Gives each process a group at a time, in the order in which the tests were collected.

    The groups of pytest-xdist itself come to nothing: it appends them to names of tests, which in pytest 9.2 nobody can
    change any more.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
