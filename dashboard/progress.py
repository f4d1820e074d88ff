# SPDX-License-Identifier: GPL-2.0-only
"""How far a campaign is, what it found, and when it will have ended: what a page and an event stream show of it."""

from datetime import datetime

from dashboard.health import Health, health
from db.campaigns import CampaignRow
from db.fleets import FleetStatus
from db.listing import Number
from db.pace import Pace
from db.schema import ENDED
from reference_mmu.record import Record
from workers.waiting import waiting_words


class CampaignProgress(Record):
    """A campaign now."""

    health: Health
    verdicts: tuple[Number, ...]
    """How many findings each verdict has, the most severe first."""
    share: float | None
    """How much of its budget is spent, 0 to 1; None if nobody can tell."""
    seconds_left: float | None
    """Seconds until its budget is spent; None if nobody can tell, or if it does not run."""
    slots: int
    """Slots of the live workers that have its model version; 0 for a search by one 'mmufuzz run'."""
    open_tasks: int
    aside_tasks: int
    """Tasks that were given up after too many attempts; 'mmufuzz campaign show' tells why."""
    unjudged: int
    """Traces that no finding explains yet."""
    waits: tuple[str, ...]
    """Why it is not running though it should."""


class Overview(Record):
    """Everything at a glance: the campaign that was started last, of the running ones if there are any."""

    progress: CampaignProgress | None
    running: int
    """Campaigns that are running."""
    workers: int
    """How many workers are alive."""
    slots: int
    verdicts: tuple[Number, ...]
    """How many findings of all campaigns have each verdict."""


def progress(campaign: CampaignRow, pace: Pace, fleet: FleetStatus | None, now: datetime) -> CampaignProgress:
    """`fleet` is None for a search by one 'mmufuzz run'."""
    told = health(campaign, pace, now)
    ran = fleet.ran_seconds if fleet else max(0.0, (now - campaign.created_at).total_seconds())
    shares, lefts = [], []
    if campaign.budget_programs is not None:
        shares.append(pace.programs / campaign.budget_programs)
        if told.programs_per_second > 0:
            lefts.append(max(0, campaign.budget_programs - pace.programs) / told.programs_per_second)
    if campaign.budget_seconds is not None:
        shares.append(ran / campaign.budget_seconds)
        lefts.append(max(0.0, campaign.budget_seconds - ran))
    return CampaignProgress(
        health=told,
        verdicts=pace.verdicts,
        share=min(1.0, max(shares)) if shares else None,
        seconds_left=min(lefts) if lefts and told.is_working else None,
        slots=fleet.slots if fleet else 0,
        open_tasks=sum(task.open for task in fleet.tasks) if fleet else 0,
        aside_tasks=sum(task.aside for task in fleet.tasks) if fleet else 0,
        unjudged=fleet.unjudged if fleet else 0,
        waits=tuple(waiting_words(fleet)) if fleet else (),
    )


def has_ended(told: CampaignProgress) -> bool:
    return told.health.state in ENDED
