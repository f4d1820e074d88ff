# SPDX-License-Identifier: GPL-2.0-only
"""A campaign worked off by a fleet: the Celery tasks that run batches, judge and minimize, their turns, and the logs,
metrics and settings of a worker; also what may be launched, and how it is refused."""
