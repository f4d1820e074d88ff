# SPDX-License-Identifier: GPL-2.0-only
"""deploy/kubernetes: valid, confined, and the same services as compose has."""

from collections import Counter
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from tests.deploy.files import DEPLOY, loaded, manifests, services

FOLDER = DEPLOY / "kubernetes"
VERSION = "1.30"
"""The oldest that it is meant for: schemas of later ones only have more."""
OBJECTS = [each for _, each in manifests()]
COMPOSED = services()
NAME = "app.kubernetes.io/name"


def pods() -> dict[str, Any]:
    """Templates of everything that runs, by name."""
    running = [each for each in OBJECTS if "template" in each.get("spec", {})]
    return {each["metadata"]["name"]: each["spec"]["template"] for each in running}


PODS = pods()


def of_kind(kind: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] == kind}


def container(name: str) -> Any:
    (only,) = PODS[name]["spec"]["containers"]
    return only


def every_pod() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", sorted(PODS))


@pytest.mark.parametrize("version", [VERSION, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("each", OBJECTS, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_its_schema_is_kept(each: Any, version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


def test_a_wrong_word_is_told() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(OBJECTS[0] | {"sepc": {}}, VERSION, strict=True)


def test_every_file_is_used_and_exists() -> None:
    kustomization = loaded("kubernetes/kustomization.yaml")
    listed = {name for name in kustomization["resources"] if name.endswith(".yaml")}
    assert listed == {file.name for file in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    for folder in set(kustomization["resources"]) - listed:
        generators = loaded(f"{folder.removeprefix('../')}/kustomization.yaml")["configMapGenerator"]
        assert generators
        for generator in generators:
            assert all((FOLDER / folder / file).exists() for file in generator["files"])


def test_it_is_the_same_set_as_compose() -> None:
    assert PODS.keys() == COMPOSED.keys()


@every_pod()
def test_it_is_the_same_program_as_in_compose(name: str) -> None:
    other, mine = COMPOSED[name], container(name)
    if "build" in other:
        assert mine["image"] == "mmufuzz"
    else:
        assert mine["image"] == other["image"]
    words = [str(word) for word in mine.get("command", []) + mine.get("args", [])]
    assert words == [str(word) for word in other.get("command", [])]
    variables = {each["name"]: each["value"] for each in mine.get("env", []) if each["name"] != "PGDATA"}
    theirs = other.get("environment", {})
    assert variables.keys() == theirs.keys()
    # Where the files of secrets are differs: a folder for each.
    assert {(name, value) for name, value in variables.items() if not name.endswith("_FILE")} == {
        (name, value) for name, value in theirs.items() if not name.endswith("_FILE")
    }


@every_pod()
def test_it_may_take_what_it_may_in_compose(name: str) -> None:
    limits = container(name)["resources"]["limits"]
    assert limits["cpu"] == str(COMPOSED[name]["cpus"])
    assert limits["memory"].lower() == f"{COMPOSED[name]['mem_limit']}i"


@every_pod()
def test_it_keeps_to_the_restricted_standard(name: str) -> None:
    assert of_kind("Namespace")["mmufuzz"]["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    spec, mine = PODS[name]["spec"], container(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False, "none of them asks Kubernetes for anything"
    assert mine["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert mine["resources"].keys() == {"requests", "limits"}
    for resources in mine["resources"].values():
        assert resources.keys() == {"cpu", "memory"}


@every_pod()
def test_the_volumes_it_mounts_exist(name: str) -> None:
    spec = PODS[name]["spec"]
    claims = [claim for each in of_kind("StatefulSet").values() for claim in each["spec"]["volumeClaimTemplates"]]
    own = {claim["metadata"]["name"] for claim in claims if name in of_kind("StatefulSet")}
    declared = {volume["name"] for volume in spec.get("volumes", [])} | own
    assert {mount["name"] for mount in container(name)["volumeMounts"]} == declared
    generated = {each["name"] for each in loaded("kubernetes/kustomization.yaml")["secretGenerator"]}
    maps = [loaded(f"{folder}/kustomization.yaml")["configMapGenerator"] for folder in ("prometheus", "grafana")]
    configured = {each["name"] for generators in maps for each in generators}
    for volume in spec.get("volumes", []):
        assert volume.get("secret", {}).get("secretName") in {None, *generated}
        assert volume.get("configMap", {}).get("name") in {None, *configured}
        assert volume.get("persistentVolumeClaim", {}).get("claimName") in {None, *of_kind("PersistentVolumeClaim")}


@every_pod()
def test_a_secret_is_where_its_variable_says(name: str) -> None:
    spec = PODS[name]["spec"]
    secrets = {each["name"]: each for each in loaded("kubernetes/kustomization.yaml")["secretGenerator"]}
    files = {
        f"{mount['mountPath']}/{file.rpartition('/')[2]}"
        for volume in spec.get("volumes", [])
        if "secret" in volume
        for mount in container(name)["volumeMounts"]
        if mount["name"] == volume["name"]
        for file in secrets[volume["secret"]["secretName"]]["files"]
    }
    named = {each["value"] for each in container(name).get("env", []) if each["name"].endswith("_FILE")}
    assert files == named | {word for word in container(name).get("command", []) if word.startswith("/run/secrets/")}


@pytest.mark.parametrize("name", sorted(of_kind("Service")))
def test_a_service_finds_its_pods(name: str) -> None:
    spec = of_kind("Service")[name]["spec"]
    assert spec["selector"] == {NAME: name}
    assert PODS[name]["metadata"]["labels"] == {NAME: name}
    ports = {port["name"]: port["containerPort"] for port in container(name)["ports"]}
    assert {port["targetPort"]: port["port"] for port in spec["ports"]} == ports
    probes = [probe for probe in container(name) if probe.endswith("Probe")]
    assert probes, "somebody asks whether it is well"


def test_prometheus_gets_the_address_of_every_worker() -> None:
    assert of_kind("Service")["worker"]["spec"]["clusterIP"] == "None"
    assert all("clusterIP" not in each["spec"] for name, each in of_kind("Service").items() if name != "worker")


def test_only_who_needs_it_is_let_in() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nobody"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name in ("database", "broker", "worker", "prometheus"):
        spec = policies[name]["spec"]
        assert spec["podSelector"]["matchLabels"] == {NAME: name}
        (rule,) = spec["ingress"]
        (expression,) = rule["from"][0]["podSelector"]["matchExpressions"]
        assert set(expression["values"]) <= PODS.keys()
        assert rule["ports"] == [{"port": container(name)["ports"][0]["containerPort"]}]
    readers = {name for name in PODS if "database-url" in str(PODS[name]["spec"].get("volumes"))}
    (expression,) = policies["database"]["spec"]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"]
    assert set(expression["values"]) == readers


def test_a_worker_may_finish_its_tasks() -> None:
    grace = COMPOSED["worker"]["stop_grace_period"]
    assert f"{PODS['worker']['spec']['terminationGracePeriodSeconds']}s" == grace


def test_no_object_is_there_twice() -> None:
    assert set(Counter((each["kind"], each["metadata"]["name"]) for each in OBJECTS).values()) == {1}
