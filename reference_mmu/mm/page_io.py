# SPDX-License-Identifier: GPL-2.0-only
"""Writing a page to its backing store (mm/page_io.c)."""

from __future__ import annotations

from mypy_extensions import i64

from .mm import Mm


def pageout(mm: Mm, pfn: i64) -> None:
    """Clean the page and write it to its backing store."""
    page = mm.host.pages[pfn]
    folio = mm.host.folio(pfn)
    folio.dirty = False
    folio.cleaned += 1
    mm.host.swap[page.hva] = page.data
    mm.page_cleaned(pfn)
