# SPDX-License-Identifier: GPL-2.0-only
"""The command line `mmufuzz`: commands/ has one file per command, bench/ the benchmarks; here is what they share, from
options and bad input to the search processes of `mmufuzz run` and their progress."""
