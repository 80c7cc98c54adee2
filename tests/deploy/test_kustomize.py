"""The manifests below deploy/kustomize: built, checked against the API of Kubernetes, and read."""

import importlib.util
from collections.abc import Callable, Iterator
from functools import cache
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from monitor.settings import load_settings
from tests.deploy.dockerfile import of_image
from tests.deploy.programs import DEPLOY, done
from tests.programs import program

KUSTOMIZE = DEPLOY / "kustomize"
BUILT = ("base", "overlays/postgresql", "overlays/prometheus-operator", "overlays/production")
WITH_PODS = ("base", "overlays/postgresql", "overlays/production")
APP = {"app.kubernetes.io/name": "mllm-monitor"}
Manifest = dict[str, Any]


@cache
def built(name: str) -> tuple[Manifest, ...]:
    kubectl = program("kubectl", "kubernetes-client")
    return tuple(yaml.safe_load_all(done([kubectl, "kustomize", KUSTOMIZE / name])))


def of_kind(name: str, kind: str) -> list[Manifest]:
    return [m for m in built(name) if m["kind"] == kind]


def pod(name: str) -> Manifest:
    (stateful,) = of_kind(name, "StatefulSet")
    spec: Manifest = stateful["spec"]["template"]["spec"]
    return spec


def containers(name: str) -> Iterator[Manifest]:
    yield from pod(name)["containers"]
    yield from pod(name).get("initContainers", ())


def generator() -> Callable[[], str]:
    """What the script ``generate`` would write."""
    loader = SourceFileLoader("generate", str(KUSTOMIZE / "generate"))
    spec = importlib.util.spec_from_loader("generate", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    prometheus_rule: Callable[[], str] = module.prometheus_rule
    return prometheus_rule


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize("version", ["1.25", "1.37"])
def test_the_api_of_kubernetes_accepts_every_manifest(name: str, version: str) -> None:
    ours = [m for m in built(name) if not m["apiVersion"].startswith("monitoring.coreos.com/")]
    for manifest in ours:
        kubernetes_validate.validate(manifest, version, strict=True)
    assert ours or name == "overlays/prometheus-operator"


def test_a_manifest_with_a_key_that_is_not_known_would_be_refused() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"prt": 1}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, "1.37", strict=True)


@pytest.mark.parametrize("name", WITH_PODS)
def test_containers_are_confined(name: str) -> None:
    user = int(of_image("USER").partition(":")[0])
    together = pod(name)["securityContext"]
    assert (together["runAsNonRoot"], together["runAsUser"]) == (True, user)
    assert together["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod(name)["automountServiceAccountToken"] is False
    assert pod(name)["enableServiceLinks"] is False
    for container in containers(name):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}


@pytest.mark.parametrize("name", WITH_PODS)
def test_there_is_one_pod_and_it_is_probed_where_the_program_answers(name: str) -> None:
    (stateful,) = of_kind(name, "StatefulSet")
    assert stateful["spec"]["replicas"] == 1
    (container,) = pod(name)["containers"]
    paths = {k: v["httpGet"]["path"] for k, v in container.items() if k.endswith("Probe")}
    assert paths == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert container["ports"] == [{"name": "http", "containerPort": int(of_image("EXPOSE"))}]


@pytest.mark.parametrize("name", WITH_PODS)
def test_everything_that_is_mounted_is_a_volume(name: str) -> None:
    (stateful,) = of_kind(name, "StatefulSet")
    claims = stateful["spec"]["volumeClaimTemplates"]
    volumes = {v["name"] for v in pod(name)["volumes"]} | {c["metadata"]["name"] for c in claims}
    mounted = {m["name"] for c in containers(name) for m in c["volumeMounts"]}
    assert mounted == volumes


@pytest.mark.parametrize("name", WITH_PODS)
def test_the_settings_in_the_cluster_are_valid_and_listen_with_a_token(
    name: str, tmp_path: Path
) -> None:
    (config,) = of_kind(name, "ConfigMap")
    path = tmp_path / "monitor.yaml"
    path.write_text(config["data"]["monitor.yaml"])
    settings = load_settings(path, {})
    (container,) = pod(name)["containers"]
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    http = settings.http
    files = {http.tokens_file, http.read_tokens_file, http.act_tokens_file}
    (secret,) = (v["secret"] for v in pod(name)["volumes"] if v["name"] == "secret")
    assert files == {Path(mounts["secret"], item["path"]) for item in secret["items"]}
    assert not http.allow_unauthenticated
    assert str(settings.data_dir).startswith(mounts["data"])
    assert settings.database.url.startswith(f"sqlite:///{mounts['data']}/")


def test_on_postgresql_it_is_migrated_first_with_an_address_from_a_secret() -> None:
    (migrate,) = pod("overlays/postgresql")["initContainers"]
    assert migrate["args"] == ["db", "upgrade"]
    for container in containers("overlays/postgresql"):
        (variable,) = (v for v in container["env"] if v["name"] == "MLLM_MONITOR_DATABASE__URL")
        assert variable["valueFrom"] == {
            "secretKeyRef": {"name": "mllm-monitor", "key": "database-url"}
        }


@pytest.mark.parametrize("name", WITH_PODS)
def test_nothing_gets_in_but_to_its_port_and_nothing_out_but_where_it_has_to(name: str) -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in of_kind(name, "NetworkPolicy")}
    assert all(p["podSelector"] == {"matchLabels": APP} for p in policies.values())
    ports = {
        way: {
            port["port"]
            for p in policies.values()
            for rule in p.get(way, ())
            for port in rule["ports"]
        }
        for way in ("ingress", "egress")
    }
    database = set() if name == "base" else {5432}
    assert ports == {"ingress": {9750}, "egress": {53} | database}
    assert policies["mllm-monitor"]["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize("name", WITH_PODS)
def test_what_selects_pods_selects_these(name: str) -> None:
    (stateful,) = of_kind(name, "StatefulSet")
    (service,) = of_kind(name, "Service")
    assert stateful["spec"]["selector"]["matchLabels"] == APP == service["spec"]["selector"]
    assert stateful["spec"]["template"]["metadata"]["labels"] == APP
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]


def test_both_halves_of_a_call_reach_the_same_daemon() -> None:
    (service,) = of_kind("overlays/postgresql", "Service")
    assert service["spec"]["sessionAffinity"] == "ClientIP"


def test_prometheus_scrapes_the_service_under_the_name_of_the_job_in_the_rules() -> None:
    (scraped,) = of_kind("overlays/production", "ServiceMonitor")
    (service,) = of_kind("overlays/production", "Service")
    spec = scraped["spec"]
    assert service["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    (job,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    assert service["metadata"]["labels"][spec["jobLabel"]] == job["job_name"]


def test_the_alerts_are_those_of_the_one_list_of_rules() -> None:
    (rule,) = of_kind("overlays/production", "PrometheusRule")
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [g for file in files for g in yaml.safe_load(file.read_text())["groups"]]
    assert rule["spec"] == {"groups": groups}


def test_the_generated_manifest_is_up_to_date() -> None:
    path = KUSTOMIZE / "overlays" / "prometheus-operator" / "prometheusrule.yaml"
    assert path.read_text() == generator()(), "run .venv/bin/python deploy/kustomize/generate"
