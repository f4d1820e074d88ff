# SPDX-License-Identifier: GPL-2.0-only
"""Is the search running, how fast, and does it still find anything?  Told from what the batches left behind."""

from datetime import datetime
from typing import Final

from db.campaigns import CampaignRow
from db.pace import LATEST_OVER, Pace
from db.schema import CampaignState
from reference_mmu.record import Record

# A batch takes seconds; if none came for so long, nobody is working on it.
_SILENT_AFTER: Final = LATEST_OVER


class Health(Record):
    """A campaign at a glance."""

    campaign: int
    name: str
    state: CampaignState
    is_working: bool
    """Whether a batch came in lately."""
    last_batch: datetime | None
    programs: int
    programs_per_second: float
    steps: int
    steps_per_second: float
    """Steps of both models in all processes, over the last minutes in which there were batches."""
    coverage: int
    is_growing: bool
    """Did coverage rise in the last quarter of the batches?"""
    last_found: datetime | None
    """When something was found that was not known before."""


def health(campaign: CampaignRow, pace: Pace, now: datetime) -> Health:
    last = pace.last_stored
    seconds = _seconds(pace)
    # What came in first began before the time that is known.
    counted = pace.latest[:-1] if len(pace.latest) > 1 and seconds > 0 else pace.latest
    spent = seconds or sum(batch.seconds for batch in counted)
    return Health(
        campaign=campaign.id,
        name=campaign.name,
        state=campaign.state,
        is_working=last is not None and now - last < _SILENT_AFTER and campaign.state is CampaignState.RUNNING,
        last_batch=last,
        programs=pace.programs,
        programs_per_second=sum(batch.programs for batch in counted) / spent if spent > 0 else 0.0,
        steps=pace.steps,
        steps_per_second=sum(batch.steps for batch in counted) / spent if spent > 0 else 0.0,
        coverage=pace.coverage,
        is_growing=pace.coverage_before is not None and pace.coverage > pace.coverage_before,
        last_found=pace.last_found,
    )


def _seconds(pace: Pace) -> float:
    """Wall time between the first and the last of the latest batches; 0 if it is not known."""
    if len(pace.latest) < 2:
        return 0.0
    return (pace.latest[0].stored_at - pace.latest[-1].stored_at).total_seconds()
