# SPDX-License-Identifier: GPL-2.0-only
"""A database with a finding in it, and a clock that moves when it is told to."""

from datetime import UTC, datetime, timedelta

import msgspec

from db.campaigns import NewCampaign
from db.schema import CampaignState
from db.store import Store
from fuzzer.judge.finding import BatchResult, Finding, FoundFinding, Verdict, signature
from tests.findings import violation

MODEL = "0123456789ab"
OTHER = "ba9876543210"
NIGHTLY = NewCampaign(name="nightly", old_spec="old", new_spec="new", profile="tdp", seed_first=7, model_version=MODEL)
VIOLATION = violation(
    "stale-translation",
    side="new",
    patches=("age-elides-tlb-flush",),
    direction="sufficient",
    verdict=Verdict.REGRESSION,
    sites=("AGE_TEST", "FAULT_EXIT"),
    story="A flush is missing.",
)
SECOND = msgspec.structs.replace(VIOLATION, what="stale-read", story="A read is stale.")
THIRD = msgspec.structs.replace(VIOLATION, what="bug", verdict=Verdict.DOCUMENTED, story="A BUG_ON fires.")
NAME, SECOND_NAME, THIRD_NAME = (signature(finding) for finding in (VIOLATION, SECOND, THIRD))


class Clock:
    """Stands still unless told to move."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, **duration: float) -> None:
        self.time += timedelta(**duration)


def new_campaign(store: Store, *findings: Finding, model: str = MODEL, ended: bool = True) -> int:
    """A campaign of one batch that showed these, each with a reproducer named after it."""
    campaign = store.create_campaign(msgspec.structs.replace(NIGHTLY, model_version=model))
    shown = tuple(FoundFinding(finding, 1, 100, signature(finding).encode()) for finding in findings)
    store.record(BatchResult(campaign, 0, 100, 1000, 25_000, 0.5, 40, shown))
    if ended:
        store.end_campaign(campaign, CampaignState.FINISHED)
    return campaign
