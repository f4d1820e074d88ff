# SPDX-License-Identifier: GPL-2.0-only
"""What architectures with a stage-2 table share: one table for each virtual machine that translates guest frames.

An architecture is a class on top of Stage2 (stage2.py) with its fault handler, the methods in which it differs, and a
table of points. Reading order: pte, fault, machine, points, table, tlb, vcpu, then the hooks in stage2.
"""
