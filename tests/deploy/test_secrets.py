# SPDX-License-Identifier: GPL-2.0-only
"""deploy/secrets.sh makes what compose and Kubernetes mount, once, and in agreement with itself."""

import subprocess
from pathlib import Path

from sqlalchemy import make_url

from cli.commands.dashboard import read_token
from tests.deploy.files import DEPLOY, composed, loaded


def made(folder: Path) -> dict[str, str]:
    done = subprocess.run([DEPLOY / "secrets.sh", folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {file.name: file.read_text(encoding="ascii").strip() for file in folder.iterdir()}


def test_every_secret_that_is_mounted_is_made(tmp_path: Path) -> None:
    names = set(made(tmp_path / "new" / "secrets"))
    assert names == set(composed()["secrets"])
    generated = {Path(each["files"][0]).name for each in loaded("kubernetes/kustomization.yaml")["secretGenerator"]}
    assert names == generated


def test_passwords_agree_and_are_not_guessed(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    url = make_url(one["database_url"])
    assert (url.get_backend_name(), url.username, url.host, url.database) == (
        *("postgresql", "mmufuzz", "database"),
        "mmufuzz",
    )
    assert url.password == one["database_password"]
    assert one["broker_conf"] == f"requirepass {make_url(one['broker_url']).password}"
    for name in ("database_password", "broker_conf", "admin_token", "grafana_password"):
        assert len(one[name].split()[-1]) == 64
        assert one[name] != other[name]
    assert len({one["database_password"], one["admin_token"], one["grafana_password"], url.password}) == 3


def test_the_second_time_nothing_changes(tmp_path: Path) -> None:
    assert made(tmp_path / "secrets") == made(tmp_path / "secrets")


def test_only_its_owner_enters_and_containers_may_read(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o444}
    assert read_token(folder / "admin_token"), "the dashboard takes it"


def test_where_nothing_can_be_written_it_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    done = subprocess.run([DEPLOY / "secrets.sh", tmp_path / "file" / "x"], capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stderr
