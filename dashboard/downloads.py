# SPDX-License-Identifier: GPL-2.0-only
"""Files to take away: one finding in each form, all findings of a campaign as zip and as CSV."""

import csv
import io
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from db.store import FindingRow, Store

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CAMPAIGN_FINDINGS_MAX: Final = 20_000
# One may have a megabyte.
_REPRODUCERS_AT_ONCE: Final = 20
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
_HEAD: Final = (
    *("verdict", "kind", "what", "side", "patches", "direction", "state", "count", "first_seen", "last_seen"),
    *("first_seed", "signature", "story", "reproducer", "replay", "known"),
)
_README: Final = """\
Findings of campaign {campaign}: {found} in all, {kept} of them with a reproducer, {known} of them known holes.

Replay one:  mmufuzz replay reproducers/NAME.json
All of them are listed in findings.csv, with the command for each. What its column "known" names is a hole that the
kernel is known to have, written up under that name in docs/findings.md of mmufuzz.
"""


def file_name(signature: str, suffix: str) -> str:
    """A name for a finding's file: nothing in it that a shell, a path or a header could take for something else."""
    return re.sub(r"[^A-Za-z0-9+._-]", "-", signature).lstrip(".-") + suffix


def findings_csv(rows: list[FindingRow]) -> bytes:
    """One line per finding; `replay` is the command to run beside the unpacked zip."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_HEAD)
    for row in rows:
        writer.writerow([_cell(value) for value in _values(row)])
    return text.getvalue().encode()


def findings_zip(store: Store, campaign: int, rows: list[FindingRow]) -> Iterator[bytes]:
    """findings.csv, a README and the reproducers, piece by piece: a few reproducers are held at a time, and nothing of
    the database while a piece is sent.  The same findings give the same bytes.  Raises StoreError."""
    table = findings_csv(rows)
    wanted = [row.signature for row in rows if row.reproducer]
    known = sum(bool(row.known) for row in rows)
    readme = _README.format(campaign=campaign, found=len(rows), kept=len(wanted), known=known).encode()
    pieces = _Pieces()
    with zipfile.ZipFile(pieces, "w", zipfile.ZIP_DEFLATED) as archive:
        for first in range(0, len(wanted), _REPRODUCERS_AT_ONCE):
            for signature, body in store.reproducers(campaign, wanted[first : first + _REPRODUCERS_AT_ONCE]):
                _add(archive, f"reproducers/{file_name(signature, '.json')}", body)
            yield pieces.taken()
        _add(archive, "findings.csv", table)
        _add(archive, "README", readme)
    yield pieces.taken()


class _Pieces(io.RawIOBase):
    """A file that is written only, and taken away while it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: "ReadableBuffer") -> int:
        piece = bytes(data)
        self._data += piece
        return len(piece)

    def taken(self) -> bytes:
        """What was written since this was asked last."""
        data = bytes(self._data)
        self._data.clear()
        return data


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EARLIEST), data, zipfile.ZIP_DEFLATED)


def _values(row: FindingRow) -> Iterator[object]:
    finding = row.finding
    reproducer = f"reproducers/{file_name(row.signature, '.json')}" if row.reproducer else ""
    yield from (finding.verdict, finding.kind, finding.what, finding.side, " ".join(finding.patches))
    yield from (finding.direction, row.state, row.count, row.first_seen.isoformat(), row.last_seen.isoformat())
    yield from (row.first_seed, row.signature, finding.story)
    yield from (reproducer, f"mmufuzz replay {reproducer}" if reproducer else "", row.known)


def _cell(value: object) -> object:
    """A spreadsheet takes a text that begins like this for a formula, and runs it."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
