# SPDX-License-Identifier: GPL-2.0-only
"""What a search is told, and what it sends back."""

from typing import Final

from fuzzer.judge.finding import Finding, FoundFinding, Natural, Seed
from fuzzer.search_spec import SearchSpec
from reference_mmu.record import Record

BATCH_PROGRAMS: Final = 50

# Storing a batch takes about a hundredth of a second, in which a search process runs as many programs as a first batch
# has.  So batches grow: after so many of a size each process's are twice as large, up to so many times.  A larger one
# is at most an eighth of what its process has run before, so that no process ends long after the others.
_BATCHES_PER_SIZE: Final = 16
_DOUBLINGS: Final = 7


class Order(Record):
    """A search over the seeds from its first on, for `programs` programs or, if 0, until it is stopped.

    Batch n has the seeds that follow those of batch n - 1; the first ones have `batch_programs`, later ones more.
    Process number p of `jobs` hunts the batches n with n mod jobs = p, so that the split of the
    batches does not depend on speed.
    """

    search: SearchSpec
    programs: int
    batch_programs: int
    jobs: int
    diff: str = ""
    """The user's change that NEW's model has; see fuzzer/change/variant.py."""
    base: str = ""
    """What both models have, and `diff` applies to."""
    allowed: tuple[str, ...] = ()
    """Effects that the user says her change may have."""

    def batch(self, number: int) -> range:
        """Seeds of a batch, none if it lies beyond the last program."""
        first, size = self.search.seed, self.batch_programs
        alike = _BATCHES_PER_SIZE * self.jobs
        for _ in range(_DOUBLINGS):
            if number < alike:
                break
            number -= alike
            first += alike * size
            size *= 2
        first += number * size
        end = first + size
        return range(first, min(end, self.search.seed + self.programs) if self.programs else end)


class Gain(Record):
    """A finding by how much its count grew, which is not at all if there is only a smaller story.

    `reproducer` comes with the first gain, and again when it has been minimized; `operations` and `preemptions` are
    its size.  `first_seed`: of the programs that are counted now the first; one that had to wait until it was judged
    may be of an earlier batch.
    """

    finding: Finding
    count: Natural
    first_seed: Seed
    reproducer: bytes | None
    operations: int
    preemptions: int
    minimized: bool

    def found(self) -> FoundFinding:
        """The finding for the store, which counts: only of a count above 0."""
        return FoundFinding(self.finding, self.count, self.first_seed, self.reproducer)


class Part(Record):
    """Part of a batch: all that was not reported by an earlier part. `last` closes the batch. `settling`: this process
    was told to stop, and only judges any more. `failure`: why this process cannot go on, its last word. `merged`: this
    process runs a compiled change, so that nobody has seen yet what comes out of two copies of the model. `ran`: which
    statements of the change were reached since, by their number in fuzzer.change.exercised.places_of(). `pressing`: how
    many findings wait to be told in a small story that may fail the search."""

    batch: int
    programs: int
    steps: int
    seconds: float
    coverage: tuple[int, ...]
    """Coverage points that this process had not seen before."""
    gains: tuple[Gain, ...]
    last: bool
    settling: bool = False
    failure: str = ""
    merged: bool = False
    ran: tuple[int, ...] = ()
    pressing: int = 0


def batch_size(programs: int, jobs: int) -> int:
    """Programs of a first batch: BATCH_PROGRAMS, but so few that no job is left without one."""
    return min(BATCH_PROGRAMS, -(-programs // jobs)) if programs else BATCH_PROGRAMS
