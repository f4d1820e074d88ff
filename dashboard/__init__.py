# SPDX-License-Identifier: GPL-2.0-only
"""The pages, the JSON API and the downloads: what the database holds, for people; replays run in child processes."""
