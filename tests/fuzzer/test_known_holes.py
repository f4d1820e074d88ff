# SPDX-License-Identifier: GPL-2.0-only
"""A known hole is told by its cause: stories of it have its name, whatever looks like one has none."""

import msgspec
import pytest

from fuzzer.judge.attribute import OWN_CHANGE
from fuzzer.judge.finding import Verdict
from fuzzer.known_holes import HOLES, HoleError, hole_of, hole_of_file, load_holes
from fuzzer.program.ops import Munmap
from fuzzer.program.program import Actor, Program
from fuzzer.reproducer import Reproducer, encode_reproducer
from reference_mmu.architectures import ARCHITECTURES
from tests.golden import golden
from tests.quality.holes import PAGE, with_table

STORIES = {
    "hole-apic-page-gone": "x86-apic-page-gone",
    "hole-gmem-error-against-hole": "x86-gmem-error-against-hole",
    "hole-clear-two-huge-pages": "x86-clear-two-huge-pages",
    "hole-fetch-below-old-child": "x86-fetch-below-old-child",
    "hole-fetch-from-device": "arm64-fetch-from-device",
    "hole-segment-not-mapped": "pr64-segment-not-mapped",
    "hole-huge-page-beside-zapped-range": "x86-huge-page-beside-zapped-range",
    "hole-maps-beyond-slot": "radix-maps-beyond-slot",
    "hole-map-across-slot-move": "x86-map-across-slot-move",
    "hole-pml-enable-then-split": "x86-pml-enabled-then-split",
    "hole-relax-a-block": "arm64-relaxes-block",
    "hole-slot-flushed-late": "loongarch-slot-flushed-late",
    "hole-walk-passes-over": "riscv-walk-passes-over",
    "e500-writable-null": "e500-writable-null",
    "pr-stale-fault-marks-dirty": "pr64-stale-marks-dirty",
    "riscv-stale-fault-marks-dirty": "riscv-stale-marks-dirty",
}
ONE = """
words: {}
holes:
- {id: some-hole, arch: x86, title: t, kernels: all, see: s, mainline: m, signs: [SIGN]}
"""


def judged(name: str, **changed: object) -> Reproducer:
    """A golden story, as if its finding had been judged otherwise."""
    reproducer = golden(name)
    return msgspec.structs.replace(reproducer, finding=msgspec.structs.replace(reproducer.finding, **changed))


def with_munmap(reproducer: Reproducer) -> Reproducer:
    """The same with an operation that has no part in it."""
    program = reproducer.program
    more = Actor("mm", (Munmap(uid=99, hva=0),))
    return msgspec.structs.replace(reproducer, program=Program(program.config, (*program.actors, more)))


@pytest.mark.parametrize("name", STORIES)
def test_a_story_of_a_hole_has_its_name(name: str) -> None:
    assert hole_of(golden(name)) == STORIES[name]
    assert hole_of_file(encode_reproducer(golden(name)), smallest=True) == STORIES[name]


def test_a_hole_that_takes_a_mishap_is_none_without() -> None:
    assert hole_of(judged("hole-segment-not-mapped")) == "pr64-segment-not-mapped"
    program = golden("hole-segment-not-mapped").program
    (op,) = program.actors[0].ops
    without = Program(program.config, (Actor("vcpu", (msgspec.structs.replace(op, no_segment=False),)),))
    assert hole_of(msgspec.structs.replace(golden("hole-segment-not-mapped"), program=without)) == ""


def test_a_table_that_was_filled_in_a_wrong_place_may_be_linked_later() -> None:
    later = judged("hole-fetch-below-old-child", what="stale-link", sites=("vcpu.load", "end"))
    assert hole_of(later) == "x86-fetch-below-old-child"


def test_what_follows_from_a_hole_is_that_hole() -> None:
    follows = {"kind": "divergence", "effects": ("fewer-flushes",), "what": "fewer-flushes", "side": "both"}
    story = "fewer flushes (reclaim), a consequence of new-warning (read)"
    assert hole_of(judged("e500-writable-null", **follows, story=story)) == "e500-writable-null"
    assert hole_of(judged("e500-writable-null", **follows, story="fewer flushes (reclaim)")) == ""


@pytest.mark.parametrize("name", ["bug-219588", "aging-goes-unseen", "arm64-late-page-mark"])
def test_what_a_commit_mends_or_announces_is_no_hole(name: str) -> None:
    assert hole_of(golden(name)) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"patches": (OWN_CHANGE,)},
        {"patches": (OWN_CHANGE, "riscv-dirty-iff-pte-installed")},
        {"patches": ("riscv-faultin-pfn",)},
        {"patches": ()},
        {"sites": ("map.fence", "end")},
        {"what": "lost-write"},
        {"verdict": Verdict.FIXED},
    ],
    ids=str,
)
def test_another_cause_place_or_verdict_is_another_finding(changed: dict[str, object]) -> None:
    assert hole_of(judged("riscv-stale-fault-marks-dirty", **changed)) == ""


def test_a_regression_beside_a_change_of_the_users_own_is_never_known() -> None:
    story = golden("riscv-stale-fault-marks-dirty")
    assert hole_of(msgspec.structs.replace(story, diff="--- a\n+++ b\n")) == ""


def test_a_warning_with_another_sentence_is_another_one() -> None:
    assert hole_of(judged("e500-writable-null", story="a WARN of the modelled code fired: another")) == ""


def test_the_same_on_another_architecture_is_another_finding() -> None:
    story = golden("riscv-stale-fault-marks-dirty")
    config = msgspec.structs.replace(story.program.config, arch="loongarch")
    moved = msgspec.structs.replace(story, program=Program(config, story.program.actors))
    assert hole_of(moved) == ""


def test_the_smallest_story_has_nothing_that_the_hole_does_not_need() -> None:
    story = with_munmap(golden("hole-fetch-below-old-child"))
    assert hole_of(story, smallest=False) == "x86-fetch-below-old-child"
    more = with_munmap(golden("hole-relax-a-block"))
    assert hole_of(more, smallest=True) == "arm64-relaxes-block"  # an invalidation has a part in that one
    odd = with_munmap(golden("e500-writable-null"))
    assert (hole_of(odd, smallest=False), hole_of(odd)) == ("e500-writable-null", "")


def test_a_story_that_does_not_come_by_is_another_one() -> None:
    story = golden("pr-stale-fault-marks-dirty")
    without = tuple(step for step in story.steps if "fault.retry" not in step)
    assert hole_of(msgspec.structs.replace(story, steps=without)) == ""


def test_a_file_that_cannot_be_read_is_none() -> None:
    assert hole_of_file(b"{}", smallest=True) == ""


@pytest.mark.parametrize(
    ("sign", "said"),
    [
        ("{what: [nothing], operations: [read], points: [walk.leaf]}", "unknown 'nothing'"),
        ("{what: [warn], operations: [reed], points: [walk.leaf]}", "unknown 'reed'"),
        ("{what: [warn], operations: [read], points: [walk.leaf], patches: [some]}", "unknown 'some'"),
        ("{what: [warn], operations: [read]}", "points"),
    ],
)
def test_what_is_not_there_is_refused(sign: str, said: str) -> None:
    with pytest.raises(HoleError, match=said):
        load_holes(ONE.replace("SIGN", sign))


def test_an_id_stands_there_once() -> None:
    text = ONE.replace("SIGN", "{what: [warn], operations: [read], points: [walk.leaf]}")
    assert list(load_holes(text)) == ["some-hole"]
    with pytest.raises(HoleError, match="twice"):
        load_holes(text + text.rpartition("holes:\n")[2])


def test_the_page_is_made_of_the_file() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page)
    assert all(f'<a id="{name}"></a>' in page and hole.page.endswith(f"#{name}") for name, hole in HOLES.items())


def test_every_point_is_one_of_the_architecture() -> None:
    numbers = {name: entry.points.numbers for name, entry in ARCHITECTURES.items()}
    signs = [(hole.arch, sign) for hole in HOLES.values() for sign in hole.signs]
    named = {(arch, point) for arch, sign in signs for point in "|".join(sign.points).split("|")}
    assert sorted(f"{arch}: {point}" for arch, point in named if point not in numbers[arch]) == []
