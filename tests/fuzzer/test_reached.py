# SPDX-License-Identifier: GPL-2.0-only
"""Every invariant, effect and outcome of a fault is reached by some test: a name that nothing can show promises what
nobody keeps."""

from typing import Final

from fuzzer.oracle.invariants import INVARIANTS
from reference_mmu.changelog.effects import EFFECTS, OUTCOMES
from reference_mmu.x86.spte import SHADOW_NONPRESENT_VALUE
from tests.by_hand import Stage
from tests.planted import PLANTED, shown
from tests.reached import AWAITED, REACHABLE, promised, recorded

PROMISED: Final = promised()

# Names that no flow of the model can show yet, and why.
NOT_YET: Final[dict[str, str]] = {}


def test_every_invariant_is_reached() -> None:
    lacking = INVARIANTS.keys() - PROMISED.keys() - AWAITED.keys()
    assert lacking == set(), 'nothing is known to break it: mark a test that does, @pytest.mark.reaches("<invariant>")'


def test_every_effect_is_reached() -> None:
    lacking = EFFECTS.keys() - PROMISED.keys() - PLANTED.keys()
    assert lacking == set(), (
        'nothing is known to show it: mark a test whose comparison does, @pytest.mark.reaches("<effect>"), or plant it'
        " in tests/planted.py"
    )


def test_every_outcome_of_a_fault_is_reached() -> None:
    lacking = set(OUTCOMES[1:]) - PROMISED.keys() - NOT_YET.keys()
    assert lacking == set(), (
        'no fault is known to end so: mark a test of one that does, @pytest.mark.reaches("<outcome>")'
    )


def test_only_names_that_exist_are_promised() -> None:
    assert PROMISED.keys() - REACHABLE == set()
    assert PLANTED.keys() - EFFECTS.keys() == set()


def test_what_is_reached_no_longer_counts_as_out_of_reach() -> None:
    assert (NOT_YET.keys() | AWAITED.keys()) & PROMISED.keys() == set()


def test_what_a_test_shows_is_seen_while_it_runs() -> None:
    stage = Stage()
    with recorded() as seen:
        stage.read(0, 1)
        stage.m.write_lock()
        stage.store(1, SHADOW_NONPRESENT_VALUE)
        stage.m.write_unlock()
        shown(*PLANTED["more-checks"])
    assert seen == {"fixed", "stale-translation", "more-checks"}
    stage.m.warn_on(True, "nobody listens any more")
    assert "warn" not in seen
