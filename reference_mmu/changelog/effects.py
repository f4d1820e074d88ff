# SPDX-License-Identifier: GPL-2.0-only
"""The closed vocabulary of observable differences between two semantics.

Every name is read old -> new: `fewer-flushes` means that the new semantics flushed less than the old one. The catalogue
says per patch which effects its commit message allows and which it excludes; a difference that has no name here cannot
be reported.
"""

from typing import Final, Literal, NamedTuple, NewType, get_args

Outcome = Literal[
    "none",
    "fixed",
    "fast",
    "spurious",
    "retry",
    "frozen",
    "write-protected",
    "emulate",
    "error",
    "injected",
]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
"""How a guest access ends at the fault handler: `none` is no fault at all, `fast` is RET_PF_FIXED by fast_page_fault(),
`frozen` is RET_PF_RETRY because a FROZEN SPTE was met, `injected` is RET_PF_RETRY with a page fault for the guest,
whose own tables forbid the access, `retry` is RET_PF_RETRY for any other reason, `error` is an exit to userspace; the
rest are the RET_PF_* of the same name."""

Counted = Literal[
    "flushes",
    "pml-entries",
    "dirty-reports",
    "checks",
    "visits",
    "spte-changes",
    "accessed-marks",
    "dirty-marks",
    "gup-calls",
    "page-references",
    "page-lookups",
]
"""What an operation does more or less often."""

Named = Literal[
    "young-false-negative",
    "young-false-positive",
    "huge-before-flush",
    "new-warning",
    "warning-gone",
    "raw-accessed-bit",
    "raw-dirty-bit",
    "read-only-rewritten",
    "read-only-kept",
    "read-differs",
    "memory-differs",
    "mapping-differs",
    "host-flags-differ",
    "host-pages-differ",
    "page-references-differ",
    "errno-differs",
    "map-refused",
    "map-granted",
    "pinned-map",
]
Composed = NewType("Composed", str)
Effect = Named | Composed
"""A name of the vocabulary, so that the type checker knows every one that is reported: what is not a name of its own
comes from fewer(), more() or instead()."""


def fewer(counted: Counted) -> Composed:
    return Composed(f"fewer-{counted}")


def more(counted: Counted) -> Composed:
    return Composed(f"more-{counted}")


def instead(new: Outcome, old: Outcome) -> Composed:
    """An access ends as `new` where it ended as `old`."""
    return Composed(f"{new}-instead-of-{old}")


_COUNTED: Final[dict[Counted, str]] = {
    "flushes": "remote TLB flushes were requested by the same operation",
    "pml-entries": "guest writes were logged by Page Modification Logging",
    "dirty-reports": "gfns were reported by the same dirty-log harvest; a lost page is a violation, not this effect",
    "checks": "sanity or scheduling predicates were evaluated by the same operation",
    "visits": "SPTEs or roots were looked at by the same walk",
    "spte-changes": "stores that changed an SPTE, FROZEN included, were made by the same operation",
    "accessed-marks": "times the same operation marked a struct page accessed for KVM",
    "dirty-marks": "times the same operation set PG_dirty for KVM",
    "gup-calls": "calls of GUP, fast or slow, were made by the same operation",
    "page-references": "references to, or pins of, struct pages were taken by the same operation",
    "page-lookups": "struct pages were looked up by their pfn by the same operation",
}

EFFECTS: Final[dict[str, str]] = {
    **{fewer(counted): f"fewer {text}" for counted, text in _COUNTED.items()},
    **{more(counted): f"more {text}" for counted, text in _COUNTED.items()},
    "young-false-negative": "new says old-page where old says young",
    "young-false-positive": "new says young where old says old-page",
    "huge-before-flush": "a huge SPTE became usable before the flush for the page table it replaces",
    "new-warning": "a WARN of the modelled code fires in new only",
    "warning-gone": "a WARN of the modelled code fires in old only",
    "raw-accessed-bit": "the Accessed bit of an SPTE differs, whether or not anything reads it",
    "raw-dirty-bit": "the Dirty bit of an SPTE differs, whether or not anything reads it",
    "read-only-rewritten": "a fault on an SPTE that is and stays not MMU-writable is 'fixed', it was 'spurious'",
    "read-only-kept": "a fault on an SPTE that is and stays not MMU-writable is 'spurious', it was 'fixed'",
    "read-differs": "a guest read returned another content stamp",
    "memory-differs": "the final contents of guest memory differ",
    "mapping-differs": (
        "the final SPTE of a gfn mapped by both has another pfn or level or may be used for other accesses (W counts by"
        " MMU-writable, R and X of an access-tracked SPTE count as saved)"
    ),
    "host-flags-differ": "PG_dirty or the accessed state of a host page differs",
    "host-pages-differ": "another host page, or none, is behind an address, as after CoW, an allocation or reclaim",
    "page-references-differ": "at the end KVM holds more references to, or pins of, a struct page on one side",
    "errno-differs": "an ioctl or KVM_RUN returned another error",
    "map-refused": "KVM may not map guest memory for itself, as kvm_vcpu_map() does, in new only",
    "map-granted": "KVM may map guest memory for itself, as kvm_vcpu_map() does, in new only",
    "pinned-map": "guest memory that KVM maps for itself is pinned in new only, where old only holds a reference",
    **{
        instead(new, old): f"the first fault result in which an access differs is '{new}', it was '{old}'"
        for old in OUTCOMES
        for new in OUTCOMES
        if new != old
    },
}
"""Name of an effect -> its meaning in one sentence."""

NEVER_CONSEQUENCES: Final[frozenset[Effect]] = frozenset(
    {
        "read-differs",
        "memory-differs",
        "mapping-differs",
        "new-warning",
        "warning-gone",
        "errno-differs",
        "map-refused",
        "map-granted",
        *(
            instead(new, old)
            for old in OUTCOMES
            for new in OUTCOMES
            if new != old and not {"write-protected", "emulate", "error"}.isdisjoint((old, new))
        ),
    }
)
"""Effects that no earlier difference excuses: contents, the mapping that is left, warnings, errors, and whether an
access or a map is let through at all. Timing may move flushes, faults, A and D bits and reports; it may not move
these."""

EXCUSED_BY_MISHAPS: Final[frozenset[Effect]] = frozenset(
    instead(*ends)
    for other in OUTCOMES
    if other not in ("error", "write-protected", "emulate")
    for ends in (("error", other), (other, "error"))
)
"""What an earlier difference does excuse, of these, in an access that is killed or finds no memory: whether it ends in
an error depends on whether it has to wait or to allocate, which is timing."""

CONTENTS: Final[frozenset[Effect]] = frozenset({"read-differs", "memory-differs"})
"""Effects that tell what guest memory holds."""

REFUSALS: Final[frozenset[Effect]] = frozenset(
    {
        "errno-differs",
        "map-refused",
        "map-granted",
        *(instead(new, old) for old in OUTCOMES for new in OUTCOMES if new != old and "error" in (old, new)),
    }
)
"""Effects by which an operation is let through on one side alone: on the other one it has not been done."""

GIVEN_UP: Final[frozenset[Effect]] = frozenset(
    instead(*ends)
    for other in OUTCOMES
    for again in ("retry", "frozen")
    if other not in ("retry", "frozen", "error")
    for ends in ((again, other), (other, again))
)
"""Effects by which a fault maps something on one side and is to be repeated on the other, which a guest does with its
access, and nobody with a prefetch."""

REPAIRS: Final[frozenset[Effect]] = frozenset({"warning-gone"})
"""Effects that are something wrong in OLD and not in NEW."""


class Group(NamedTuple):
    """Effects that an author may announce in one word."""

    about: str
    effects: frozenset[str]


_WORK: Final[tuple[Counted, ...]] = (
    "flushes",
    "checks",
    "visits",
    "spte-changes",
    "gup-calls",
    "page-references",
    "page-lookups",
)
_TOLD: Final[tuple[Counted, ...]] = ("pml-entries", "dirty-reports", "accessed-marks", "dirty-marks")
_BITS: Final[tuple[Named, ...]] = (
    "raw-accessed-bit",
    "raw-dirty-bit",
    "read-only-rewritten",
    "read-only-kept",
    "young-false-negative",
    "young-false-positive",
    "host-flags-differ",
)

GROUPS: Final[dict[str, Group]] = {
    "cost": Group(
        "the same is done with more or less work", frozenset(way(what) for what in _WORK for way in (fewer, more))
    ),
    "bits": Group(
        "Accessed and Dirty bits differ, what aging and the dirty log read of them, and the marks on pages",
        frozenset((*_BITS, *(way(what) for what in _TOLD for way in (fewer, more)))),
    ),
    "timing": Group(
        "an access hits, faults or retries where it did not, and a page is reclaimed sooner or later",
        frozenset(
            (
                *(instead(new, old) for old in OUTCOMES for new in OUTCOMES if new != old),
                "huge-before-flush",
                "host-pages-differ",
                "page-references-differ",
            )
        )
        - NEVER_CONSEQUENCES,
    ),
    "all": Group("whatever differs; a broken invariant is a regression all the same", frozenset(EFFECTS)),
}
"""Name of a group -> what it stands for."""
