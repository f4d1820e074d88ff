# SPDX-License-Identifier: GPL-2.0-only
"""Files to take away."""

import csv
import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from threading import Event

import msgspec
import pytest
from sqlalchemy import QueuePool

from dashboard import api, downloads
from dashboard.answers import STREAMED_AT_ONCE_MAX, _Streamed
from dashboard.downloads import file_name, findings_csv, findings_zip
from db.store import Store
from fuzzer.reproducer import decode_reproducer
from fuzzer.tell.export.forms import FORMS
from tests.dashboard.site import BUG, SHOWN, Site
from tests.golden import golden
from tests.service.waiting import wait_until


@pytest.mark.parametrize(
    "signature", [BUG, "../../etc/passwd", "..", 'a"b\r\nSet-Cookie: x', "a/b\\c", ".hidden", "-rf", "\u202etxt"]
)
def test_a_file_name_is_a_name(signature: str) -> None:
    name = file_name(signature, ".json")
    assert PurePosixPath(name).name == name
    assert not name.startswith(("-", ".."))
    assert not set(name) & set('"\\/:\r\n ')


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_a_file_to_be_saved(shared: Site, form: str) -> None:
    answer = shared.get(f"/api/v1/findings/1/{BUG}/exports/{form}")
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert answer.headers["content-disposition"].endswith(f'{FORMS[form].suffix}"')
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_pytest_file_has_a_name_that_pytest_collects(shared: Site) -> None:
    said = shared.get(f"/api/v1/findings/1/{BUG}/exports/pytest").headers["content-disposition"]
    assert said.startswith('attachment; filename="test_')


def test_the_zip_holds_every_reproducer(shared: Site) -> None:
    answer = shared.get("/api/v1/campaigns/1/findings.zip")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    files = [name for name in archive.namelist() if name.startswith("reproducers/")]
    assert len(files) == len(SHOWN)
    assert {decode_reproducer(archive.read(name)).signature for name in files} >= {BUG}
    assert b"mmufuzz replay reproducers/NAME.json" in archive.read("README")
    rows = list(csv.DictReader(io.StringIO(archive.read("findings.csv").decode())))
    assert [row["reproducer"] for row in rows] == files
    assert all(row["replay"] == f"mmufuzz replay {row['reproducer']}" for row in rows)


def test_the_same_findings_give_the_same_zip(shared: Site) -> None:
    first, second = (shared.get("/api/v1/campaigns/1/findings.zip") for _ in range(2))
    assert first.headers["etag"] == second.headers["etag"]
    assert first.content == second.content
    again = shared.get("/api/v1/campaigns/1/findings.zip", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_other_findings_are_another_zip(own: Site) -> None:
    first = own.get("/api/v1/campaigns/1/findings.zip")
    Store(own.engine).improve_reproducer(BUG, b"{}", 1, 0, "0" * 16)
    second = own.get("/api/v1/campaigns/1/findings.zip", headers={"If-None-Match": first.headers["etag"]})
    assert second.status_code == 200


def test_a_zip_is_made_while_it_is_sent(shared: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the database has nothing to do with it while a piece is on its way to a slow reader."""
    monkeypatch.setattr(downloads, "_REPRODUCERS_AT_ONCE", 3)
    store = Store(shared.engine)
    rows = store.findings(1)
    pieces = []
    for piece in findings_zip(store, 1, rows):
        pieces.append(piece)
        assert len(piece) < 30_000
        pool = shared.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0
    assert len(pieces) == 4
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).testzip() is None


def test_a_reproducer_that_is_gone_meanwhile_is_left_out(own: Site) -> None:
    store = Store(own.engine)
    pieces = findings_zip(store, 1, store.findings(1))
    with own.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM reproducers")
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).namelist() == ["findings.csv", "README"]


def test_only_so_many_zips_at_once(own: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = Event()

    def slow(*_: object) -> Iterator[bytes]:
        yield b"begun"
        assert go_on.wait(60)

    monkeypatch.setattr(api, "findings_zip", slow)
    with ThreadPoolExecutor(STREAMED_AT_ONCE_MAX) as readers:
        address = "/api/v1/campaigns/1/findings.zip"
        taken = [readers.submit(own.get, address) for _ in range(STREAMED_AT_ONCE_MAX)]
        wait_until(lambda: own.get("/api/v1/me").status_code == 200 and _Streamed._places._value == 0, "all begun", 60)
        refused = own.get(address)
        assert (refused.status_code, refused.json()["error"][:19]) == (429, "4 large files are b")
        go_on.set()
        assert [one.result().content for one in taken] == [b"begun"] * STREAMED_AT_ONCE_MAX
    assert own.get(address).status_code == 200


def test_a_cell_is_no_formula(shared: Site) -> None:
    (row,) = Store(shared.engine).findings(limit=1)
    finding = msgspec.structs.replace(golden("bug-219588").finding, story="=HYPERLINK(1)")
    data = findings_csv([msgspec.structs.replace(row, finding=finding)]).decode()
    (read,) = csv.DictReader(io.StringIO(data))
    assert read["story"] == "'=HYPERLINK(1)"


def test_no_campaign_no_files(shared: Site) -> None:
    assert shared.get("/api/v1/campaigns/9/findings.zip").status_code == 404
    assert shared.get("/api/v1/campaigns/9/findings.csv").status_code == 404
