# SPDX-License-Identifier: GPL-2.0-only
"""Patches that change no behaviour: each as a pair of functions that agree on all inputs."""
