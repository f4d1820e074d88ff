# SPDX-License-Identifier: GPL-2.0-only
"""Is the search running, how fast, and does it still find anything?  Told from what the batches left behind."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from db.campaigns import CampaignRow
from db.growth import Growth
from db.schema import CampaignState

# A batch takes seconds; if none came for so long, nobody is working on it.
_SILENT_AFTER: Final = timedelta(minutes=5)
_RATE_OVER: Final = timedelta(minutes=5)
_GROWING_SHARE: Final = 4


class Health(msgspec.Struct, frozen=True):
    """A campaign at a glance."""

    campaign: int
    name: str
    state: CampaignState
    is_working: bool
    """A batch came in lately."""
    last_batch: datetime | None
    programs: int
    steps: int
    steps_per_second: float
    """Of both models and all processes, over the last minutes in which there were batches."""
    coverage: int
    is_growing: bool
    """Did coverage rise in the last quarter of the batches?"""
    last_found: datetime | None
    """When something was found that was not known before."""


def health(campaign: CampaignRow, growth: Growth, now: datetime) -> Health:
    points = growth.points
    last = points[-1].stored_at if points else None
    quarter = -(-len(points) // _GROWING_SHARE)
    before = points[max(0, len(points) - 1 - quarter)] if points else None
    return Health(
        campaign=campaign.id,
        name=campaign.name,
        state=campaign.state,
        is_working=last is not None and now - last < _SILENT_AFTER and campaign.state is CampaignState.RUNNING,
        last_batch=last,
        programs=sum(point.programs for point in points),
        steps=sum(point.steps for point in points),
        steps_per_second=_rate(growth),
        coverage=points[-1].coverage if points else 0,
        is_growing=before is not None and points[-1].coverage > before.coverage,
        last_found=growth.last_found,
    )


def _rate(growth: Growth) -> float:
    """Steps per second of wall time where it is known: between two points; else per second of one process."""
    points = growth.points
    if not points:
        return 0.0
    recent = [point for point in points if points[-1].stored_at - point.stored_at <= _RATE_OVER]
    wall = (recent[-1].stored_at - recent[0].stored_at).total_seconds()
    if len(recent) > 1 and wall > 0:
        return sum(point.steps for point in recent[1:]) / wall
    seconds = sum(point.seconds for point in recent)
    return sum(point.steps for point in recent) / seconds if seconds > 0 else 0.0
