# SPDX-License-Identifier: GPL-2.0-only
import pytest

from cli.bench.shares import STAGES, shares_of, stages


def test_shares_of_a_search_are_all_of_it() -> None:
    last = list(stages(60, seed=3, workload="tdp"))[-1]
    assert last.programs == 60
    assert [share.stage for share in last.shares] == list(STAGES)
    assert sum(share.percent for share in last.shares) == pytest.approx(100.0)
    assert sum(share.seconds for share in last.shares) == pytest.approx(last.seconds)
    assert all(share.percent >= 0 for share in last.shares)


def test_oracles_are_what_a_silent_run_saves() -> None:
    measured = {"run": 10.0, "silent run": 7.0, "silent end": 1.0, "generation": 1.0, "comparison": 2.0}
    shares = shares_of({**measured, "judgement": 5.0, "storage": 5.0}, 1, "mixed")
    assert {share.stage: share.percent for share in shares.shares} == {
        "generation": 5.0,
        "model": 15.0,
        "oracles": 20.0,
        "comparison": 10.0,
        "judgement": 25.0,
        "storage": 25.0,
    }
