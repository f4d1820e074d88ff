# SPDX-License-Identifier: GPL-2.0-only
from pathlib import Path

from benchmarks.digests import Difference, differences, line
from cli.bench.process import ArmProcess
from tests.cli.shell import ROOT, changed_sources

INTERPRETED = {"MMUFUZZ_CORE": "interpreted"}


def test_a_checkout_shows_what_it_shows() -> None:
    with ArmProcess(ROOT, INTERPRETED) as one, ArmProcess(ROOT, INTERPRETED) as other:
        assert list(differences(one, other, "mixed", 0, 20)) == []


def test_a_checkout_without_a_flush_shows_something_else(tmp_path: Path) -> None:
    flush = "        yield from kvm_flush_remote_tlbs(kvm, INV_FLUSH)"
    changed = changed_sources(tmp_path, "reference_mmu/kvm/mmu_notifier.py", flush, "        pass")
    with ArmProcess(ROOT, INTERPRETED) as one, ArmProcess(changed, INTERPRETED) as other:
        found = list(differences(one, other, "zap", 0, 20))
    assert len(found) > 5
    assert {"turns", "events"} <= {part for one_found in found for part in one_found.parts}
    assert all(0 <= one_found.seed < 20 for one_found in found)


def test_what_differs_is_told_in_a_line() -> None:
    found = [Difference("mixed", 7, ("events",)), Difference("mixed", 9, ("events", "effects"))]
    assert line("mixed", 20, found) == "mixed: 2 of 20 programs differ (events 2, effects 1), seeds 7, 9"
    assert line("mixed", 20, []) == "mixed: 20 programs, all alike"
