# SPDX-License-Identifier: GPL-2.0-only
"""deploy/compose.yaml: every container is confined and watched, and asks for nothing that is not there."""

import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic_settings import BaseSettings

import dashboard.settings
import workers.settings
from cli.main import cli
from cli.secret_files import SECRETS
from tests.deploy.files import COMPOSE_FILES, DEPLOY, composed, loaded, services

SERVICES = services()
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
JOBS = {"migrate", "campaign"}
SETTINGS: dict[str, type[BaseSettings]] = {
    "worker": workers.settings.Settings,
    "dashboard": dashboard.settings.Settings,
    "migrate": workers.settings.Settings,
    "campaign": workers.settings.Settings,
}


def each(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(names))


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_schema_of_today_is_kept(name: str) -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / name)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", COMPOSE_FILES)
def test_the_old_compose_knows_every_word(name: str) -> None:
    """docker-compose 1.29 ends at what it does not know; these words came after it."""
    document = loaded(name)
    assert {key for key in document if not key.startswith("x-")} <= {"services", "networks", "volumes", "secrets"}
    for service in document["services"].values():
        assert not {"develop", "attach", "annotations", "post_start", "pre_stop", "provider"} & service.keys()
        for condition in service.get("depends_on", {}).values():
            assert condition.keys() == {"condition"}


def test_there_is_what_a_fleet_needs() -> None:
    assert SERVICES.keys() == JOBS | {"worker", "dashboard", "database", "broker", "prometheus", "grafana"}
    assert OURS.keys() == JOBS | {"worker", "dashboard"}


@each(SERVICES)
def test_it_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & service.keys()
    for limit in ("mem_limit", "cpus", "pids_limit"):
        assert service[limit], limit
    for volume in service.get("volumes", []):
        assert volume.endswith(":ro") or volume.split(":")[0] in composed()["volumes"], volume


@each(SERVICES)
def test_it_is_started_again_and_its_logs_do_not_fill_the_disk(name: str) -> None:
    assert SERVICES[name]["restart"] == ("on-failure" if name in JOBS else "unless-stopped")
    assert SERVICES[name]["logging"]["options"].keys() == {"max-size", "max-file"}


@each(SERVICES.keys() - JOBS)
def test_somebody_asks_whether_it_is_well(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= check.keys()


@each(SERVICES)
def test_what_it_waits_for_says_when_it_is_there(name: str) -> None:
    for other, condition in SERVICES[name].get("depends_on", {}).items():
        if condition["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert (condition["condition"], other in JOBS) == ("service_completed_successfully", True)


@each(SERVICES)
def test_it_listens_to_this_host_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port
    published = "ports" in SERVICES[name]
    assert ("outside" in SERVICES[name]["networks"]) == (published or name == "worker")
    assert composed()["networks"]["inside"] == {"internal": True}


@each(SERVICES)
def test_no_password_is_in_its_environment(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|TOKEN|DATABASE$|DATABASE_|BROKER", variable):
            assert variable.endswith("_FILE"), variable
        if variable.endswith("_FILE"):
            assert value.removeprefix("/run/secrets/") in service["secrets"], variable
    for secret in service.get("secrets", []):
        assert f"/run/secrets/{secret}" in str(service), f"{secret} is not used"


@each(OURS)
def test_its_settings_exist(name: str) -> None:
    for variable in OURS[name]["environment"]:
        setting = variable.removesuffix("_FILE") if variable.removesuffix("_FILE") in SECRETS else variable
        assert setting.removeprefix("MMUFUZZ_").lower() in SETTINGS[name].model_fields, variable


@each(OURS)
def test_its_command_exists(name: str) -> None:
    """With --help behind them, words and options are looked up and nothing is done."""
    result = CliRunner().invoke(cli, [*map(str, OURS[name]["command"]), "--help"])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(cli, [*map(str, OURS[name]["command"]), "--nosuch", "--help"])
    assert wrong.exit_code == 2


@each(SERVICES)
def test_the_files_it_mounts_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        assert source in composed()["volumes"] or (DEPLOY / source).exists(), source


def test_a_worker_may_finish_its_tasks() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= workers.settings.Settings.model_fields["hard_limit_seconds"].default + 10


def test_the_other_files_add_to_this_one() -> None:
    for name in COMPOSE_FILES[1:]:
        document = loaded(name)
        assert document["services"].keys() <= SERVICES.keys()
        for service in document["services"].values():
            assert set(service.get("secrets", [])) <= document.get("secrets", {}).keys()
            for variable in service.get("environment", {}):
                assert variable.removesuffix("_FILE") in SECRETS
            assert all(port.startswith("${MMUFUZZ_SHARED_ADDRESS:?") for port in service.get("ports", []))


def test_the_project_has_a_name() -> None:
    assert "COMPOSE_PROJECT_NAME=mmufuzz\n" in Path(DEPLOY, ".env").read_text(encoding="ascii")
