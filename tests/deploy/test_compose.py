"""deploy/compose.yaml, read and linted."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from monitor.settings import load_settings
from tests.deploy.programs import DEPLOY, done
from tests.programs import program

COMPOSE: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {"migrate", "monitor", "reference", "traffic"}


def prometheus(path: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((DEPLOY / path / "prometheus.yml").read_text())
    return tree


def without_targets(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_targets(v) for k, v in tree.items() if k != "targets"}
    return [without_targets(item) for item in tree] if isinstance(tree, list) else tree


def test_docker_compose_understands_it() -> None:
    compose = program("docker-compose", "docker-compose")
    assert done([compose, "-f", DEPLOY / "compose.yaml", "config", "-q"]) == ""


def test_everything_that_shows_the_demo_is_there() -> None:
    assert set(SERVICES) == OURS | {"postgres", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - OURS))
def test_images_of_others_are_pinned_by_version_and_digest(name: str) -> None:
    assert re.fullmatch(r"[a-z/]+:v?\d+\.[\w.-]+@sha256:[0-9a-f]{64}", SERVICES[name]["image"])


def test_ports_are_published_to_this_machine_alone_and_the_database_has_none() -> None:
    published = {name: port for name, s in SERVICES.items() for port in s.get("ports", ())}
    assert set(published) == {"monitor", "prometheus", "alertmanager", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published.values())
    assert SERVICES["postgres"]["networks"] == ["database"]
    assert COMPOSE["networks"]["database"] == {"internal": True}


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgres"}))
def test_containers_can_write_nothing_but_their_volumes_and_gain_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - OURS))
def test_what_goes_on_is_checked_and_started_again(name: str) -> None:
    # Ours have the check of the image.
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_state_is_in_named_volumes_and_configuration_is_mounted_read_only() -> None:
    mounts = [mount for s in SERVICES.values() for mount in s.get("volumes", ())]
    files = [mount for mount in mounts if mount.startswith(".")]
    assert all(mount.endswith(":ro") for mount in files)
    assert {mount.partition(":")[0] for mount in mounts} - {
        mount.partition(":")[0] for mount in files
    } == set(COMPOSE["volumes"])


def test_what_is_mounted_exists() -> None:
    sources = {
        mount.partition(":")[0]
        for s in SERVICES.values()
        for mount in s.get("volumes", ())
        if mount.startswith(".")
    }
    assert [path for path in sources if not (DEPLOY / path).exists()] == []


def test_the_settings_are_valid_with_what_compose_puts_into_the_environment() -> None:
    token = {"MLLM_MONITOR_HTTP__TOKENS": "demo"}
    settings = load_settings(DEPLOY / "compose" / "monitor.yaml", token)
    assert settings.http.is_guarded  # for posting
    assert settings.http.host == "0.0.0.0"  # noqa: S104 - of the container
    ports = {name: SERVICES[name]["ports"][0].rpartition(":")[0] for name in ("monitor", "grafana")}
    assert settings.http.external_url == f"http://{ports['monitor']}"
    assert settings.http.grafana_url == f"http://{ports['grafana']}"


def test_prometheus_is_set_as_elsewhere_but_for_where_things_are() -> None:
    here, elsewhere = prometheus("compose"), prometheus("prometheus")
    assert without_targets(here) == without_targets(elsewhere)
