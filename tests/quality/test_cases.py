# SPDX-License-Identifier: GPL-2.0-only
"""Cases: each wrong change breaks what names it in the program on record, each correct one breaks nothing in many.

A wrong one whose program does not show it any more has had its dice cast anew by a change of the generator or of a
point: `python -m tests.quality.cases NAME` finds another.
"""

import pytest

from fuzzer.judge.finding import Verdict
from fuzzer.oracle.invariants import INVARIANTS
from fuzzer.program.profile import PROFILES
from fuzzer.reproducer import Reproducer, ReproducerError, decode_reproducer
from reference_mmu.changelog.effects import EFFECTS
from tests.quality.cases import FOLDER, Case, Shown, cases, row, show
from tests.trials import replayed

CASES = cases()


def named(case: Case) -> str:
    return case.name


def test_every_diff_is_in_the_table_and_every_row_has_one() -> None:
    assert [case.name for case in CASES] == sorted(file.stem for file in FOLDER.glob("*.patch"))
    assert {name for case in CASES for name in case.breaks} <= INVARIANTS.keys()
    assert {name for case in CASES for name in case.effects} <= EFFECTS.keys()
    assert {case.profile for case in CASES} <= PROFILES.keys()


@pytest.mark.parametrize("case", [case for case in CASES if not case.correct], ids=named)
def test_a_wrong_change_breaks_what_names_it(case: Case) -> None:
    shown = show(case, case.seed, 1)
    assert shown.right(case), row(case, shown)


@pytest.mark.parametrize("case", [case for case in CASES if case.correct], ids=named)
def test_a_correct_change_breaks_nothing(case: Case) -> None:
    shown = show(case, case.seed, case.programs)
    assert shown.right(case), row(case, shown)


def reproducer(name: str) -> Reproducer:
    return decode_reproducer((FOLDER / f"{name}.json").read_bytes())


@pytest.mark.parametrize("name", ["double-zap", "untracked-write-after-move"])
def test_what_was_an_error_of_the_model_is_none(name: str) -> None:
    """A page of a guest table was zapped together with another and then once more; a moved memslot kept the tracking of
    the old one."""
    outcome = reproducer(name).run()
    assert outcome.violations("old") == outcome.violations("new") == {}


def test_a_word_of_the_dirty_bitmap_spans_two_huge_pages_at_most() -> None:
    with pytest.raises(ReproducerError, match="memslot at gfn 15: a word of its dirty bitmap spans three huge pages"):
        reproducer("word-over-three-huge-pages")


def test_a_hole_that_something_else_saves_old_from_is_no_regression() -> None:
    """That of a notifier over two memslots: here the flush of an aging operation comes in time in OLD."""
    known = reproducer("regression-of-a-hole-old-is-saved-from")
    trial = replayed(known)
    assert list(trial.outcome.violations("new")) == ["stale-translation"]
    assert list(trial.outcome.violations("old")) == []
    assert trial.violation("stale-translation").verdict is Verdict.BASELINE


def test_what_a_case_shows_is_told() -> None:
    wrong = Case(name="a", about="", profile="mixed", breaks=("lockdep",))
    correct = Case(name="b", about="", profile="mixed", effects=("more-flushes",))
    shown = Shown(7, {"lockdep": 1}, {"more-flushes": 2}, {"lockdep": 6, "more-flushes": 3})
    assert row(wrong, shown) == "| a | wrong | right | lockdep (seed 6), more-flushes (seed 3) | mixed | 7 |"
    assert row(correct, shown).startswith("| b | correct | NOT right |")
    assert Shown(9, {}, {"more-flushes": 1}, {"more-flushes": 0}).right(correct)
    assert not Shown(9, {}, {"fewer-flushes": 1}, {"fewer-flushes": 0}).right(correct)
    assert not Shown(9, {"bug": 1}, {}, {"bug": 0}).right(wrong)
