# SPDX-License-Identifier: GPL-2.0-only
"""Why a campaign that should be running does not, in words."""

from db.fleets import FleetStatus


def waiting_words(status: FleetStatus) -> list[str]:
    """Why a campaign that should be running does not."""
    model = status.campaign.model_version
    if status.campaign.state != "running" or status.slots:
        return []
    if status.other_models:
        others = ", ".join(status.other_models)
        return [f"it waits: no live worker has model {model}, they have {others}; start workers of this version"]
    return ["it waits: there is no live worker; start one with 'mmufuzz worker'"]
