# SPDX-License-Identifier: GPL-2.0-only
"""Equivalences about guest memory that KVM maps for itself, or looks up for itself."""

from __future__ import annotations

from typing import Final

from fuzzer.prove.equivalences import Sweep, lockstep

_MAPS: Final = (lockstep("vcpu-map"),)

MAP_SWEEPS: Final[dict[str, tuple[Sweep, ...]]] = {
    "vcpu-map-drop-null-map-check": _MAPS,
    "vcpu-map-null-page-for-memremap": _MAPS,
    "vcpu-map-follow-pfn": _MAPS,
    "vcpu-map-writable-at-map-time": _MAPS,
    "nvmx-vmcs12-maps": _MAPS,
    "nvmx-evmcs-unmap-unconditional": _MAPS,
}
"""By patch, as SWEEPS in equivalences.py."""
