# SPDX-License-Identifier: GPL-2.0-only
"""A patch as a change of the model: a user's diff loaded as a second copy of it, and a patch of the catalogue shown as
the diff that its switch makes."""
