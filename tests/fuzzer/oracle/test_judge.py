# SPDX-License-Identifier: GPL-2.0-only
"""No event of a machine gets lost between it and the oracles."""

from fuzzer.oracle.judge import Judge
from reference_mmu.oracle import Oracle


def test_every_event_is_handed_on() -> None:
    """An event that the judge does not override is one that no oracle ever sees, without a sign."""
    events = {name for name in vars(Oracle) if not name.startswith("_")}
    assert len(events) > 30
    assert events - vars(Judge).keys() == set()
