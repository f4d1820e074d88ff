# SPDX-License-Identifier: GPL-2.0-only
"""What a compiled change shows is looked at again before it is told: on two copies of the model, interpreted."""

from collections.abc import Iterator
from contextlib import suppress

import msgspec

from cli.order import Gain, Part
from cli.watchdog import Hung, watchdog
from fuzzer.judge.finding import Finding, signature
from fuzzer.oracle.invariants import INVARIANTS
from fuzzer.reproducer import Reproducer, decode_reproducer, encode_reproducer, trace_digest
from fuzzer.run.compare import Models
from reference_mmu.version import model_version


class SecondLook:
    """Replays the reproducers that come from compiled processes."""

    def __init__(self, models: Models) -> None:
        self.models = models
        self._doubts: list[str] = []

    def at(self, part: Part) -> Part:
        """The part as it is told: without what does not replay. Its reproducers name the version of this model, and not
        that of the merged one."""
        if not part.merged:
            return part
        return msgspec.structs.replace(part, gains=tuple(self._replayed(part.gains)))

    def doubts(self) -> list[str]:
        """What did not replay since this was last asked: then the compiled change is not to be trusted."""
        doubts, self._doubts = self._doubts, []
        return doubts

    def _replayed(self, gains: tuple[Gain, ...]) -> Iterator[Gain]:
        for gain in gains:
            if gain.reproducer is None:  # known already, or without a story
                yield gain
                continue
            reproducer = decode_reproducer(gain.reproducer)
            finding = self._seen_again(reproducer)
            if finding is not None:
                reproducer = msgspec.structs.replace(reproducer, model=model_version(), finding=finding)
                yield msgspec.structs.replace(gain, reproducer=encode_reproducer(reproducer), finding=finding)
            else:
                self._doubts.append(
                    f"the compiled change shows {signature(gain.finding)} in the program of seed {gain.first_seed}, "
                    "interpreted it does not, please report that: the search goes on interpreted"
                )

    def _seen_again(self, reproducer: Reproducer) -> Finding | None:
        """The finding, if both copies do, event by event, what the merged one did. Where a flow raises an exception,
        the line is that of the user's sources, and not that of the merged ones."""
        with suppress(Hung), watchdog():
            outcome, finding = reproducer.run(self.models), reproducer.finding
            if trace_digest(outcome) != reproducer.digest:
                return None
            if finding.what != "exception" or finding.side == "both":
                return finding
            said = outcome.violations(finding.side)["exception"].detail
            return msgspec.structs.replace(finding, story=f"{INVARIANTS['exception']}: {said}")
        return None
