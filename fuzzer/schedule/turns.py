# SPDX-License-Identifier: GPL-2.0-only
"""What a leader did, turn by turn, in one word per turn."""

from __future__ import annotations

from typing import Final

from librt.vecs import append, vec
from mypy_extensions import i64, mypyc_attr

from fuzzer.schedule.schedule import Turn

# A word: uid << 16 | point << 8 | actor. Points are below 256 (reference_mmu.x86.points), and so are actors.
_UID: Final[i64] = 16
_PLACE: Final[i64] = 8
_BYTE: Final[i64] = 255


@mypyc_attr(acyclic=True)
class Turns:
    """`words`: one per turn; read them by the methods. A negative number counts from the end, as in a list.
    `begun`: by uid, the number of its first turn, -1 if there is none."""

    def __init__(self, uid_limit: i64) -> None:
        self.words: vec[i64] = vec[i64](capacity=128)
        self.begun: vec[i64] = vec[i64]([-1] * uid_limit)

    def __len__(self) -> int:
        return len(self.words)

    def add(self, actor: i64, uid: i64, point: i64) -> None:
        """The actor came to stand at a point of operation `uid`."""
        if self.begun[uid] < 0:
            self.begun[uid] = len(self.words)
        self.words = append(self.words, uid << _UID | point << _PLACE | actor)

    def actor(self, number: i64) -> i64:
        """Who went on in that turn."""
        return self.words[number] & _BYTE

    def point(self, number: i64) -> i64:
        """Where that took it."""
        return (self.words[number] >> _PLACE) & _BYTE

    def uid(self, number: i64) -> i64:
        """In which operation."""
        return self.words[number] >> _UID

    def occurrences(self, uid: i64, point: i64) -> i64:
        """How often a point of an operation was come to."""
        place = uid << (_UID - _PLACE) | point
        found: i64 = 0
        if self.begun[uid] >= 0:
            for number in range(self.begun[uid], len(self.words)):
                if self.words[number] >> _PLACE == place:
                    found += 1
        return found

    def last(self) -> Turn:
        """The last one."""
        uid, point = self.uid(-1), self.point(-1)
        return Turn(int(self.actor(-1)), int(uid), int(point), int(self.occurrences(uid, point)))

    def written(self) -> list[Turn]:
        """All of them, as a schedule that can be kept."""
        turns: list[Turn] = []
        seen: dict[int, int] = {}
        for word in self.words:
            place = int(word >> _PLACE)
            occurrence = seen.get(place, 0) + 1
            seen[place] = occurrence
            turns.append(Turn(int(word & _BYTE), int(word >> _UID), int(word >> _PLACE & _BYTE), occurrence))
        return turns
