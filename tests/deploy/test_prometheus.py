# SPDX-License-Identifier: GPL-2.0-only
"""Alerts and dashboards ask for metrics that exist, and every alert is tried by promtool where there is one."""

import re
import subprocess
from collections.abc import Iterator
from enum import Enum
from typing import Any

import promql_parser
import pytest
from prometheus_client.metrics import MetricWrapperBase

from db.schema import FindingState
from fuzzer.judge.finding import Verdict
from tests.deploy.files import DEPLOY, dashboards, loaded
from workers import metrics

PROMETHEUS = DEPLOY / "prometheus"
# Made by Prometheus itself: whether a scrape succeeded, and which alerts there are.
ITS_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate", "severity"}}
VALUES: dict[str, type[Enum] | tuple[str, ...]] = {
    "verdict": Verdict,
    "known": metrics.Known,
    "error": metrics.DatabaseError,
    "outcome": metrics.Delivery,
    "queue": metrics.QUEUES,
    "job": ("worker", "prometheus"),
    "alertstate": ("firing", "pending"),
}
STATES = {"mmufuzz_batches_total": metrics.BatchEnd, "mmufuzz_rechecks_total": FindingState}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def declared() -> dict[str, set[str]]:
    """Every series of workers/metrics.py, with its labels."""
    found = {}
    for wrapper in vars(metrics).values():
        if isinstance(wrapper, MetricWrapperBase):
            for family in wrapper.describe():
                for suffix in SUFFIXES[family.type]:
                    labels = {*wrapper._labelnames, *(["le"] if suffix == "_bucket" else [])}
                    found[family.name + suffix] = labels | {"instance", "job"}
    return found


SERIES = declared() | ITS_OWN
RULES = {rule["alert"]: rule for group in loaded("prometheus/alerts.yaml")["groups"] for rule in group["rules"]}
PANELS = {
    f"{name}: {panel['title']} {target['refId']}": target["expr"]
    for name, board in dashboards().items()
    for panel in board["panels"]
    for target in panel["targets"]
}
EXPRESSIONS = {name: rule["expr"] for name, rule in RULES.items()} | PANELS


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Everything that an expression reads.  Raises ValueError if it is none."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    # What Grafana replaces by a duration.
    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "1m")), visit)
    yield from found


def problems(expression: str) -> list[str]:
    """What it asks for and nobody has."""
    wrong, labels = [], set()
    for selector in selectors(expression):
        if selector.name not in SERIES:
            wrong.append(f"no metric {selector.name}")
            continue
        labels |= SERIES[selector.name]
        for matcher in selector.matchers.matchers:
            known = STATES.get(selector.name) if matcher.name == "state" else VALUES.get(matcher.name)
            if matcher.name not in SERIES[selector.name]:
                wrong.append(f"{selector.name} has no label {matcher.name}")
            elif known is not None:
                values = {str(one.value) if isinstance(one, Enum) else one for one in known}
                wrong += [f"no {matcher.name} {one}" for one in matcher.value.split("|") if one not in values]
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        wrong += [f"no label {label}" for label in re.findall(r"\w+", grouped) if label not in labels]
    return wrong


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_it_asks_for_what_there_is(expression: str) -> None:
    assert problems(expression) == []


def divisors(expression: str) -> list[Any]:
    """What an expression divides by."""
    found = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) == "/":
            found.append(node.rhs)

    promql_parser.walk(promql_parser.parse(expression.replace("$__rate_interval", "1m")), visit)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_nothing_is_divided_by_nothing(expression: str) -> None:
    """A fleet without a campaign runs no program: there is no share then, and not a number is none."""
    for divisor in divisors(expression):
        assert re.fullmatch(r"\(.* > 0\)", str(divisor), re.DOTALL), divisor


def test_a_division_is_seen() -> None:
    assert [str(divisor) for divisor in divisors("sum(up) / (sum(up) > 0)")] == ["(sum(up{}) > 0)"]
    assert [str(divisor) for divisor in divisors("1 - sum(up) / count(up)")] == ["count(up{})"]


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("rate(mmufuzz_programs[5m])", "no metric mmufuzz_programs"),
        ("sum(rate(mmufuzz_batch_seconds[5m]))", "no metric mmufuzz_batch_seconds"),
        ('mmufuzz_findings_total{severity="x"}', "mmufuzz_findings_total has no label severity"),
        ('mmufuzz_findings_total{verdict=~"regression|nosuch"}', "no verdict nosuch"),
        ('mmufuzz_batches_total{state="open"}', "no state open"),
        ("sum by (patch) (mmufuzz_findings_total)", "no label patch"),
        ("up - nosuch", "no metric nosuch"),
    ],
)
def test_what_there_is_not_is_told(expression: str, said: str) -> None:
    assert problems(expression) == [said]


def test_what_is_no_expression_is_told() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        problems("rate(mmufuzz_programs_total")


def test_nothing_is_measured_in_vain() -> None:
    seen = {selector.name for expression in EXPRESSIONS.values() for selector in selectors(expression)}
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in declared()}
    assert families - {re.sub(r"_bucket$", "", str(name)) for name in seen} == set()


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_alert_says_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert rule["labels"]["severity"] in ("page", "ticket", "read")
    assert rule["annotations"].keys() == {"summary", "action"}
    assert all(len(text) > 20 for text in rule["annotations"].values())


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_alert_is_seen_to_fire_and_to_keep_silent(name: str) -> None:
    """In the file that promtool runs; what is expected of one that keeps silent is nothing."""
    tried = [
        bool(one.get("exp_alerts"))
        for test in loaded("prometheus/alerts.test.yaml")["tests"]
        for one in test["alert_rule_test"]
        if one["alertname"] == name
    ]
    assert True in tried
    assert tried.count(False) >= 2, "when all is well, and a step before it fires or after it is over"


def test_every_worker_is_scraped() -> None:
    document = loaded("prometheus/prometheus.yaml")
    (worker, _) = document["scrape_configs"]
    (found,) = worker["dns_sd_configs"]
    assert (found["names"], found["type"]) == (["worker"], "A")
    assert str(found["port"]) == loaded("compose.yaml")["services"]["worker"]["environment"]["MMUFUZZ_METRICS_PORT"]
    mounted = {volume.split(":")[1] for volume in loaded("compose.yaml")["services"]["prometheus"]["volumes"]}
    assert set(document["rule_files"]) <= mounted


@pytest.mark.promtool
@pytest.mark.parametrize(
    "words",
    [
        "check config --syntax-only prometheus.yaml",
        "check rules alerts.yaml",
        "test rules alerts.test.yaml",
    ],
)
def test_promtool_agrees(words: str) -> None:
    done = subprocess.run(["promtool", *words.split()], cwd=PROMETHEUS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
