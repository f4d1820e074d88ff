# SPDX-License-Identifier: GPL-2.0-only
"""The files of deploy/ as data."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DEPLOY: Final = ROOT / "deploy"
COMPOSE_FILES: Final = ("compose.yaml", "shared.yaml", "webhook.yaml")
DASHBOARDS: Final = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def loaded(name: str) -> Any:
    """A YAML file below deploy/."""
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))


def composed() -> Any:
    """deploy/compose.yaml, every ${NAME:-default} replaced by its default."""
    text = (DEPLOY / "compose.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text))


def services() -> dict[str, Any]:
    """Those of deploy/compose.yaml, by name."""
    found: dict[str, Any] = composed()["services"]
    return found


def dashboards() -> dict[str, Any]:
    """Those of Grafana, by the name of their file."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in DASHBOARDS}


def manifests() -> Iterator[tuple[str, Any]]:
    """Every object of deploy/kubernetes, with the name of its file."""
    for name in loaded("kubernetes/kustomization.yaml")["resources"]:
        if name.endswith(".yaml"):
            text = (DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")
            yield from ((name, each) for each in yaml.safe_load_all(text))
