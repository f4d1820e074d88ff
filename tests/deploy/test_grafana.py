# SPDX-License-Identifier: GPL-2.0-only
"""Grafana's files agree with one another and with where compose mounts them.  Their expressions: test_prometheus.py."""

import re
from itertools import combinations

import pytest

from tests.deploy.files import dashboards, loaded, services

DASHBOARDS = dashboards()
PROVISIONING = "grafana/provisioning"
COLUMNS = 24


def each() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(DASHBOARDS))


def overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return all(one[at] < other[at] + other[size] and other[at] < one[at] + one[size] for at, size in ("xw", "yh"))


def test_what_is_mounted_is_what_is_looked_for() -> None:
    mounts = {volume.split(":")[1] for volume in services()["grafana"]["volumes"]}
    (provider,) = loaded(f"{PROVISIONING}/dashboards/files.yaml")["providers"]
    assert {provider["options"]["path"], "/etc/grafana/provisioning"} <= mounts
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home.removeprefix(f"{provider['options']['path']}/").removesuffix(".json") in DASHBOARDS


def test_the_source_is_prometheus_where_compose_has_it() -> None:
    (source,) = loaded(f"{PROVISIONING}/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services()
    assert source["jsonData"]["timeInterval"] == loaded("prometheus/prometheus.yaml")["global"]["scrape_interval"]


@each()
def test_every_panel_asks_that_source(name: str) -> None:
    (source,) = loaded(f"{PROVISIONING}/datasources/prometheus.yaml")["datasources"]
    for panel in DASHBOARDS[name]["panels"]:
        for asked in (panel, *panel["targets"]):
            assert asked["datasource"] == {"type": source["type"], "uid": source["uid"]}


@each()
def test_every_panel_is_explained_and_has_room(name: str) -> None:
    panels = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= COLUMNS
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
    for one, other in combinations(panels, 2):
        assert not overlap(one["gridPos"], other["gridPos"]), (one["title"], other["title"])


@each()
def test_a_legend_names_labels_that_are_left(name: str) -> None:
    for panel in DASHBOARDS[name]["panels"]:
        for target in panel["targets"]:
            assert target["legendFormat"] or panel["type"] == "stat", "a line has a name"
            grouped = re.search(r"^(?:60 \* )?(?:sum|max) by \((\w+)\)", target["expr"])
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                aggregated = re.match(r"(sum|max|count)\b", target["expr"])
                assert grouped[1] == label if grouped else not aggregated, panel["title"]


def test_each_has_an_address_of_its_own() -> None:
    assert len({board["uid"] for board in DASHBOARDS.values()}) == len(DASHBOARDS) == 2
    assert all(board["uid"].startswith("mmufuzz-") for board in DASHBOARDS.values())
