# SPDX-License-Identifier: GPL-2.0-only
"""Every arm, interpreted, through the process that a bench asks: what it counts, and that it can find."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.bench.process import ArmProcess
from cli.bench.runner import HUNT, HYPOTHESIS_ARMS, PARTS
from workers.refusal import BadInput

ROOT = Path(__file__).resolve().parents[3]
ARMS = (HUNT, *HYPOTHESIS_ARMS)


@pytest.fixture(scope="module")
def process() -> Iterator[ArmProcess]:
    with ArmProcess(ROOT, {"MMUFUZZ_CORE": "interpreted"}) as started:
        yield started


def ask(process: ArmProcess, arm: str, seed: int, programs: int, side: str = "") -> dict[str, object]:
    return process.ask("measure", arm=arm, profile="mixed", seed=seed, programs=programs, seconds=60, side=side)


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_runs_as_many_programs_as_it_is_told(process: ArmProcess, arm: str) -> None:
    done = ask(process, arm, 1, 7)
    assert done["programs"] == 7
    assert 0 < int(str(done["pairs"])) <= 7
    assert int(str(done["steps"])) > 7
    assert done["found"] is False


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_repeated_by_its_seed(process: ArmProcess, arm: str) -> None:
    once, again, other = (ask(process, arm, seed, 5)["steps"] for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.parametrize("arm", [HUNT, "given_seeded"])
def test_an_arm_ends_at_the_first_detection(process: ArmProcess, arm: str) -> None:
    """OLD has kernel bug 219588, which one of 130 programs shows: that 2000 do not has odds of 1 : 10**6."""
    done = ask(process, arm, 1, 2000, "old")
    assert done["found"] is True
    assert int(str(done["programs"])) < 2000


def test_a_digest_is_that_of_the_same_program_alone(process: ArmProcess) -> None:
    three = process.ask("digests", profile="aging", first=10, programs=3)["digests"]
    assert three[1:2] == process.ask("digests", profile="aging", first=11, programs=1)["digests"]
    assert all(len(digest) == len(PARTS) for digest in three)
    assert three[0] != three[1]


def test_what_is_no_checkout_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no checkout"):
        ArmProcess(tmp_path)


def test_a_checkout_that_does_not_load_says_why(tmp_path: Path) -> None:
    for package in ("reference_mmu", "fuzzer"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("1 // 0\n", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot be measured: ZeroDivisionError"):
        ArmProcess(tmp_path)
