# SPDX-License-Identifier: GPL-2.0-only
"""What the templates say of a reproducer: its program at once, its replay and its chances once a child made them."""

from typing import Any, Final

import msgspec

from dashboard.replaying import ReplayFailed
from dashboard.service import Service
from db.replays import TooManyWaiting
from fuzzer.program.words import program_words, switch_words
from fuzzer.reproducer import Reproducer, ReproducerError, decode_reproducer
from fuzzer.tell.export.trace_json import ReplayDocument

_NO_CHANCES: Final[dict[str, Any]] = {
    "chances": None,
    "chances_problem": "",
    "chances_asked": False,
    "chances_offered": False,
}


def read(body: bytes) -> tuple[Reproducer | None, str]:
    """A stored file, decoded, or why it cannot be replayed here."""
    try:
        return decode_reproducer(body), ""
    except ReproducerError as error:
        return None, str(error)


def replayed(service: Service, body: bytes) -> dict[str, Any]:
    """Template values of a stored file's replay; the replay is begun if no result is cached."""
    reproducer, problem = read(body)
    if reproducer is None:
        return replay_values(None, None, problem)
    try:
        encoded = service.replayer.soon("trace", body)
    except ReplayFailed as error:
        return replay_values(reproducer, None, str(error))
    except TooManyWaiting:
        encoded = None  # the page asks again, and there may be room then
    return replay_values(reproducer, None if encoded is None else msgspec.json.decode(encoded, type=ReplayDocument), "")


def replay_values(reproducer: Reproducer | None, trace: ReplayDocument | None, problem: str) -> dict[str, Any]:
    """`problem`: why there is no trace and will be none."""
    return {
        "reproducer": reproducer,
        "trace": trace,
        "problem": problem,
        "program": program_words(reproducer.program) if reproducer else [],
        "switches": [switch_words(reproducer.program, *one) for one in reproducer.switches] if reproducer else [],
        **_NO_CHANCES,
    }


def resampled(service: Service, body: bytes, visitor: str, asked: bool) -> dict[str, Any]:
    """Where the finding of a stored file became inevitable; only if that was `asked`, it is found out now."""
    told = {**_NO_CHANCES, "chances_offered": True, "chances_asked": asked}
    try:
        told["chances"] = service.resampling.ask(body, visitor) if asked else service.resampling.known(body)
    except (ReplayFailed, TooManyWaiting) as error:
        told["chances_problem"] = str(error)
    return told
