# SPDX-License-Identifier: GPL-2.0-only
"""What is kept in SQL: campaigns, batches, findings, their occurrences and reproducers, and the tasks of a fleet.
schema.py has the tables, migrations/ their history."""
