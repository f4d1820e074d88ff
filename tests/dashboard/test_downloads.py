# SPDX-License-Identifier: GPL-2.0-only
"""Files to take away."""

import csv
import io
import zipfile
from pathlib import PurePosixPath

import msgspec
import pytest

from dashboard.downloads import file_name, findings_csv
from db.store import Store
from fuzzer.export.forms import FORMS
from fuzzer.reproducer import decode_reproducer
from tests.dashboard.site import BUG, SHOWN, Site
from tests.golden import golden


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


def test_a_cell_is_no_formula(shared: Site) -> None:
    (row,) = Store(shared.engine).findings(limit=1)
    finding = msgspec.structs.replace(golden("bug-219588").finding, story="=HYPERLINK(1)")
    data = findings_csv([msgspec.structs.replace(row, finding=finding)]).decode()
    (read,) = csv.DictReader(io.StringIO(data))
    assert read["story"] == "'=HYPERLINK(1)"


def test_no_campaign_no_files(shared: Site) -> None:
    assert shared.get("/api/v1/campaigns/9/findings.zip").status_code == 404
    assert shared.get("/api/v1/campaigns/9/findings.csv").status_code == 404
