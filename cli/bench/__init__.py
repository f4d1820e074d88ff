# SPDX-License-Identifier: GPL-2.0-only
"""`mmufuzz bench`: how fast the search is and how soon it finds, beside what a user could write with Hypothesis."""
