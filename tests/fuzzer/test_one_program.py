# SPDX-License-Identifier: GPL-2.0-only
"""A program without a schedule: what many interleavings of it show, and what is said when that is nothing."""

from itertools import count

import pytest

from fuzzer.judge.finding import Verdict
from fuzzer.one_program import Searched, search_program
from fuzzer.program.ops import GetLog, Read
from fuzzer.program.program import Actor, Program
from fuzzer.recheck import recheck
from tests.golden import golden

BUG = golden("bug-219588")
HARMLESS = Program(BUG.program.config, (Actor("vcpu", (Read(1, 13),)),))
# Of every fault before the series about struct page.
LATE_MARK = "late-page-mark"
SILENT = Program(BUG.program.config, (Actor("ioctl", (GetLog(1, 0),)),))


def always() -> bool:
    return True


@pytest.fixture(scope="module")
def searched() -> Searched:
    return search_program(BUG.program, 40, always)


def test_the_bug_of_a_program_is_found_again(searched: Searched) -> None:
    assert searched.schedules == 40
    assert searched.unjudged == 0
    violations = [one for one in searched.shown if one.finding.kind == "violation"]
    assert {one.finding.side for one in violations} == {"old"}
    """At one or at another pair of racing points, as chance will have it."""
    bugs = [one for one in violations if one.finding.what != LATE_MARK]
    for bug in bugs:
        assert (bug.finding.what, bug.finding.verdict) == ("stale-writable-mmuw", Verdict.FIXED)
        assert bug.finding.patches == BUG.finding.patches
    assert 0 < sum(bug.count for bug in bugs) < 40
    for late in (one.finding for one in violations if one.finding.what == LATE_MARK):
        assert (late.verdict, late.patches) == (Verdict.FIXED_SILENTLY, ("x86-finish-page-fault-helper",))


def test_what_it_shows_replays_exactly(searched: Searched) -> None:
    for one in searched.shown:
        assert one.reproducer is not None
        assert recheck(one.reproducer, one.reproducer.run()).reproduced()
        assert one.reproducer.signature == one.signature


def test_the_worst_comes_first_and_a_signature_once(searched: Searched) -> None:
    signatures = [one.signature for one in searched.shown]
    assert len(set(signatures)) == len(signatures)
    order = [one.finding.verdict is Verdict.DOCUMENTED for one in searched.shown]
    assert order == sorted(order)


def test_the_same_program_gives_the_same_report(searched: Searched) -> None:
    assert search_program(BUG.program, 40, always) == searched


def test_a_program_that_shows_nothing_gets_a_report_too() -> None:
    report = search_program(SILENT, 20, always)
    assert (report.schedules, report.shown, report.unjudged) == (20, (), 0)
    assert report.steps > 0


def test_a_harmless_program_shows_what_every_fault_does() -> None:
    """That is, what the series about struct page changes in each."""
    report = search_program(HARMLESS, 20, always)
    assert (report.schedules, report.unjudged) == (20, 0)
    assert {(one.finding.what, one.finding.verdict) for one in report.shown} == {
        (LATE_MARK, Verdict.FIXED_SILENTLY),
        ("more-dirty-marks", Verdict.DOCUMENTED),
        ("fewer-page-lookups", Verdict.DOCUMENTED),
        ("host-flags-differ", Verdict.DOCUMENTED),
    }
    assert report.steps > 0


def test_what_the_time_cuts_off_is_counted() -> None:
    asked = count()
    assert search_program(BUG.program, 40, lambda: False).schedules == 0
    report = search_program(BUG.program, 40, lambda: next(asked) < 40)
    assert report.schedules == 40
    assert report.unjudged > 0
    assert report.shown == ()


def test_what_is_judged_and_not_minimized_is_told_without_a_reproducer(searched: Searched) -> None:
    asked = count()
    report = search_program(BUG.program, 40, lambda: next(asked) < 40 + 1)
    (first,) = report.shown
    assert first.reproducer is None
    assert first.finding.kind == "violation", "violations are judged first"
