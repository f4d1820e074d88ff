# SPDX-License-Identifier: GPL-2.0-only
"""What the operations of a run did, as far as it shows from outside, and what each of them cost."""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

# What an operation did, in order: kind << 40 | value.
EV_PF: Final[i64] = 1  # fault outcome, PF_*
EV_FLUSH: Final[i64] = 2
EV_READ: Final[i64] = 3  # stamp read
EV_YOUNG: Final[i64] = 4
EV_HARVEST: Final[i64] = 5  # gfns reported dirty by one word
EV_WARN: Final[i64] = 6
EV_ERRNO: Final[i64] = 7  # errno that an ioctl or KVM_RUN returned, positive
EV_MAP: Final[i64] = 8  # KVM wanted to map guest memory for itself: MAP_*
EV_SHIFT: Final[i64] = 40

# Fault outcomes as observed from outside: places in effects.OUTCOMES, 0 is "no fault".
PF_FIXED: Final[i64] = 1
PF_FAST: Final[i64] = 2
PF_SPURIOUS: Final[i64] = 3
PF_RETRY: Final[i64] = 4
PF_FROZEN: Final[i64] = 5
PF_WRITE_PROTECTED: Final[i64] = 6
PF_EMULATE: Final[i64] = 7
PF_ERROR: Final[i64] = 8
PF_INJECTED: Final[i64] = 9
# Added to PF_FIXED and PF_SPURIOUS if the SPTE in question may not be made writable.
PF_READ_ONLY: Final[i64] = 16

# What became of the wish to map guest memory.
MAP_REFUSED: Final[i64] = 0
MAP_UNPINNED: Final[i64] = 1  # by a reference, or by nothing
MAP_PINNED: Final[i64] = 2

OP_COUNTERS: Final = 9
COUNT_CHECKS: Final[i64] = 0  # sanity and resched checks of the TDP iterator
COUNT_VISITS: Final[i64] = 1  # SPTEs looked at while aging
COUNT_CHANGES: Final[i64] = 2  # SPTEs stored
COUNT_PML: Final[i64] = 3  # gfns logged by hardware
COUNT_ACCESSED_MARKS: Final[i64] = 4  # struct pages that KVM marked accessed
COUNT_DIRTY_MARKS: Final[i64] = 5  # PG_dirty set by KVM
COUNT_GUP: Final[i64] = 6  # calls of GUP, fast or slow
COUNT_PAGE_REFERENCES: Final[i64] = 7  # references and pins taken
COUNT_PAGE_LOOKUPS: Final[i64] = 8  # struct pages looked up by their pfn

_DIGEST_BITS: Final[i64] = (1 << 62) - 1
# Drawn at random, so that no two ways to spend have the same sum; some millions of each fit an i64.
_WEIGHTS: Final = vec[i64](
    [
        0x2046F9269D,
        0x1FC9C5D823,
        0x86C6F37359,
        0xF6752E1F85,
        0x787747EBD1,
        0x02F41E2127,
        0xEDD4F03F67,
        0x92184A58C7,
        0xC7BF59073F,
    ]
)


@mypyc_attr(acyclic=True)
class Observed:
    """Events and counters of so many operations, by uid.

    All events are in one log, (event, uid) after (event, uid), since nobody asks for those of one operation while
    machines run: whether two machines did the same is told by number and digest of an operation's events, and by the
    weighted sum of its counters.
    """

    def __init__(self, operations: i64) -> None:
        self.log: vec[i64] = vec[i64](capacity=64)
        self.n_events: vec[i64] = vec[i64]([0] * operations)
        self.digests: vec[i64] = vec[i64]([0] * operations)
        self.counters: vec[i64] = vec[i64]([0] * (operations * OP_COUNTERS))
        self.costs: vec[i64] = vec[i64]([0] * operations)

    def record(self, uid: i64, kind: i64, value: i64) -> None:
        """The next event of an operation."""
        event = kind << EV_SHIFT | value
        self.log = append(append(self.log, event), uid)
        self.n_events[uid] += 1
        self.digests[uid] = _mixed(self.digests[uid] ^ event)

    def count(self, uid: i64, counter: i64) -> None:
        """An operation did something that costs, COUNT_*."""
        self.counters[uid * OP_COUNTERS + counter] += 1
        self.costs[uid] += _WEIGHTS[counter]

    def counted(self, uid: i64, counter: i64) -> i64:
        """How often it did."""
        return self.counters[uid * OP_COUNTERS + counter]

    def same(self, other: Observed, uid: i64) -> bool:
        """Did the operation do the same in both, at the same cost?"""
        if self.n_events[uid] != other.n_events[uid] or self.digests[uid] != other.digests[uid]:
            return False
        return self.costs[uid] == other.costs[uid]

    def events(self, uid: i64) -> list[int]:
        """What an operation did, in order."""
        return [int(self.log[at]) for at in range(0, len(self.log), 2) if self.log[at + 1] == uid]

    def all_events(self) -> list[list[int]]:
        """The same of all operations."""
        return [self.events(uid) for uid in range(len(self.n_events))]


def _mixed(digest: i64) -> i64:
    """Another number for each number, the same compiled and interpreted: a step of xorshift (Marsaglia, J. Stat.
    Software 8, 2003). A left shift may wrap a compiled i64, but never in the bits that the mask keeps."""
    digest ^= (digest << 13) & _DIGEST_BITS
    digest ^= digest >> 7
    return digest ^ (digest << 17) & _DIGEST_BITS
