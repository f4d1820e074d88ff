# SPDX-License-Identifier: GPL-2.0-only
"""Each kind of download, replayed by the command that it carries, where nothing but mmufuzz is installed."""

import csv
import re
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from fuzzer.tell.export.forms import FORMS
from tests.browser.installed import Installed, install
from tests.browser.visit import visit
from tests.dashboard.server import Server
from tests.dashboard.site import BUG, SHOWN

pytestmark = pytest.mark.browser

COMMAND = re.compile(r'(?:Replay this file: |"replay": ?")([^"\n]+)')
SAYS = {"pytest": "1 passed"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("installed"))


def download(chromium: Browser, server: Server, address: str, text: str, folder: Path) -> Path:
    with visit(chromium, server) as page:
        page.goto(address)
        with page.expect_download() as waiting:
            page.click(f"a[download]:text-is('{text}')")
        file = folder / waiting.value.suggested_filename
        waiting.value.save_as(file)
    return file


def test_it_is_not_these_sources_that_replay(installed: Installed, tmp_path: Path) -> None:
    run = installed.run("python -c 'import fuzzer; print(fuzzer.__file__)'", tmp_path)
    assert run.stdout.startswith(str(installed.folder)), run.stderr


@pytest.mark.parametrize("form", FORMS)
def test_each_form_replays_by_the_command_in_its_head(
    chromium: Browser, server: Server, installed: Installed, form: str, tmp_path: Path
) -> None:
    file = download(chromium, server, f"/findings/1/{BUG}", form, tmp_path)
    assert file.name.endswith(FORMS[form].suffix)
    found = COMMAND.search(file.read_text(encoding="utf-8"))
    assert found is not None
    run = installed.run(found[1].replace("FILE", file.name), tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert SAYS.get(form, "reproduced exactly: fixed") in run.stdout


def test_the_zip_of_a_campaign_replays_by_the_commands_of_its_table(
    chromium: Browser, server: Server, installed: Installed, tmp_path: Path
) -> None:
    file = download(chromium, server, "/campaigns/1", "zip with reproducers", tmp_path)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path)
    with (tmp_path / "findings.csv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == len(SHOWN)
    for row in rows[:2]:
        run = installed.run(row["replay"], tmp_path)
        assert run.returncode == 0, run.stdout + run.stderr


def test_the_table_of_a_campaign_is_that_of_its_zip(chromium: Browser, server: Server, tmp_path: Path) -> None:
    table = download(chromium, server, "/campaigns/1", "CSV", tmp_path)
    packed = download(chromium, server, "/campaigns/1", "zip with reproducers", tmp_path)
    assert (table.name, packed.name) == ("findings-1.csv", "findings-1.zip")
    with zipfile.ZipFile(packed) as archive:
        assert archive.read("findings.csv") == table.read_bytes()
