# SPDX-License-Identifier: GPL-2.0-only
"""Findings of which a test says only what it is about."""

from typing import Any

from fuzzer.judge.finding import Finding, Verdict


def violation(what: str, **fields: Any) -> Finding:
    """A baseline violation of that invariant, with other fields as they are given."""
    return _finding({"kind": "violation", "what": what, "effects": (), "verdict": Verdict.BASELINE, **fields})


def divergence(*effects: str, **fields: Any) -> Finding:
    """A documented divergence with those effects, with other fields as they are given."""
    name = ", ".join(effects)
    return _finding({"kind": "divergence", "what": name, "effects": effects, "verdict": Verdict.DOCUMENTED, **fields})


def _finding(fields: dict[str, Any]) -> Finding:
    unknown = {"side": "both", "leader": "old", "patches": (), "direction": "none", "sites": ("-", "-"), "story": ""}
    return Finding(**unknown | fields)
