"""What grafana/ holds: dashboards, and what provisions them, the data source and alerts."""

import re
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.source.__main__ import files
from tests.acceptance.dashboards import ALERTING, BOARDS, GRAFANA, board, managed_rules, panels
from tests.deploy.programs import DEPLOY, ROOT

UIDS = {"fleet": "mllm-fleet", "stream": "mllm-stream", "monitor-health": "mllm-monitor-health"}
PANELS = [
    pytest.param(panel, id=f"{path.stem}: {panel['title']}")
    for path in BOARDS
    for panel in panels(board(path))
]
UNITS = {"none", "s", "bytes", "cps", "percentunit", "suffix: nats"}
NOTHING = {"no traffic", "no targets", "no reference", "not judged", "not measured"}
# Of Prometheus itself, of every scrape, and of every process.
FOREIGN = {
    "ALERTS",
    "up",
    "scrape_duration_seconds",
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
}
RULES = (DEPLOY / "prometheus" / "rules" / "mllm-monitor.yml").read_text()
Json = Mapping[str, Any]


def by_path(path: Path) -> str:
    return path.stem


def provisioned(kind: str) -> Any:
    return yaml.safe_load((GRAFANA / "provisioning" / kind / "mllm-monitor.yaml").read_text())


def documented() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE)
    parts = {"histogram": ("_count", "_sum", "_bucket"), "gauge": ("",), "counter": ("",)}
    return FOREIGN | {f"mllm_monitor_{n}{part}" for n, kind in rows for part in parts[kind]}


def labels() -> set[str]:
    page = (ROOT / "docs" / "metrics.md").read_text()
    columns = re.findall(r"^\| `\w+` \| \w+ \|([^|]*)\|", page, re.MULTILINE)
    return {label for column in columns for label in re.findall(r"`(\w+)`", column)}


def named(expr: str) -> set[str]:
    return set(re.findall(r"\b(mllm_monitor_\w+|ALERTS|up(?=\{)|scrape_\w+|process_\w+)", expr))


def all_of(tree: Any, key: str) -> list[Any]:
    """Every value under a key, however deep."""
    if isinstance(tree, dict):
        own = [tree[key]] if key in tree else []
        return own + [value for part in tree.values() for value in all_of(part, key)]
    return [value for part in tree for value in all_of(part, key)] if isinstance(tree, list) else []


def test_the_made_files_are_up_to_date() -> None:
    stale = [path.name for path, text in files().items() if path.read_text() != text]
    assert stale == [], "run .venv/bin/python -m grafana.source"


def test_the_dashboards_have_the_addresses_that_alerts_link_to() -> None:
    assert {path.stem: board(path)["uid"] for path in BOARDS} == UIDS
    linked = re.findall(
        r"/d/([\w-]+)", (DEPLOY / "prometheus" / "rules/mllm-monitor.yml").read_text()
    )
    assert set(linked) <= set(UIDS.values())


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_every_data_source_is_the_one_that_is_chosen(path: Path) -> None:
    used = all_of(board(path), "datasource")
    assert used
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in used)
    first = board(path)["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_panels_have_ids_and_titles_of_their_own(path: Path) -> None:
    ids = [panel["id"] for panel in board(path)["panels"]]
    titles = [panel["title"] for panel in panels(board(path))]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_panels_lie_on_the_grid_and_nowhere_on_each_other(path: Path) -> None:
    cells = [
        {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        for place in (panel["gridPos"] for panel in board(path)["panels"])
    ]
    assert all(0 <= x < 24 for taken in cells for x, _ in taken)
    assert not [1 for one, other in combinations(cells, 2) if one & other]


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_a_strip_of_newest_values_is_on_top_and_the_rest_in_rows(path: Path) -> None:
    kinds = [panel["type"] for panel in board(path)["panels"]]
    strip = kinds.index("row")
    assert set(kinds[:strip]) == {"stat"}
    assert sum(panel["gridPos"]["w"] for panel in board(path)["panels"][:strip]) == 24
    assert "stat" not in kinds[strip:]


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_the_cursor_is_shared_and_links_lead_to_the_others(path: Path) -> None:
    assert board(path)["graphTooltip"] == 1
    others = {f"/d/{uid}" for uid in UIDS.values()} - {f"/d/{board(path)['uid']}"}
    links = {link["url"]: link for link in board(path)["links"]}
    assert others | {"${external_url}/"} == set(links)
    assert all(links[url]["keepTime"] and links[url]["includeVars"] for url in others)


@pytest.mark.parametrize("path", BOARDS, ids=by_path)
def test_every_variable_that_is_used_is_there(path: Path) -> None:
    names = {variable["name"] for variable in board(path)["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", path.read_text()))
    assert {name for name in used if not name.startswith("__")} == names


def test_slices_are_those_of_the_streams_that_are_chosen_and_several_can_be() -> None:
    variables = {
        v["name"]: v for v in board(BOARDS[-1])["templating"]["list"] if v["type"] == "query"
    }
    assert "$stream" in variables["slice"]["query"]["query"]
    assert variables["slice"]["multi"]
    assert variables["stream"]["multi"]


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_and_of_which_metric(panel: Json) -> None:
    *text, metric = panel["description"].split()
    assert len(text) >= 2
    assert metric in documented()
    assert metric in {name for target in panel["targets"] for name in named(target["expr"])}


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_asks_for_metrics_and_labels_that_exist(panel: Json) -> None:
    for target in panel["targets"]:
        assert named(target["expr"])
        assert named(target["expr"]) <= documented()
        matched = set(re.findall(r'(\w+)=~?"', target["expr"]))
        added = {"job", "instance", "alertname", "alertstate", "severity"}
        assert matched - added - {"exported_job"} <= labels()


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_a_unit_and_says_so_where_there_is_nothing(panel: Json) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert defaults["unit"] in UNITS
    assert defaults["noValue"] in NOTHING
    assert defaults["mappings"][-1]["options"]["result"]["text"] == defaults["noValue"]
    assert defaults["mappings"][-1]["options"]["match"] == "null+nan"


def test_a_stream_without_traffic_is_not_called_in_control() -> None:
    (state,) = (p for p in panels(board(BOARDS[-1])) if p["title"] == "State")
    assert state["fieldConfig"]["defaults"]["noValue"] == "no traffic"
    words = state["fieldConfig"]["defaults"]["mappings"][0]["options"]
    assert words["-1"]["text"] == "not judged"


@pytest.mark.parametrize("panel", PANELS)
def test_a_dashed_line_that_is_spoken_of_is_drawn(panel: Json) -> None:
    dashed = [
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if "custom.lineStyle" in {p["id"] for p in override["properties"]}
    ]
    legends = [target["legendFormat"] for target in panel["targets"]]
    assert bool(dashed) >= ("dashed" in panel["description"])
    assert all(any(re.search(pattern, legend) for legend in legends) for pattern in dashed)


@pytest.mark.parametrize(
    ("ending", "unit"),
    [("_nats", "suffix: nats"), ("_bytes", "bytes"), ("targets_ratio", "percentunit")],
)
def test_units_are_those_of_the_metrics(ending: str, unit: str) -> None:
    found = {
        panel["fieldConfig"]["defaults"]["unit"]
        for path in BOARDS
        for panel in panels(board(path))
        if panel["description"].endswith(ending)
    }
    assert found == {unit}


def test_no_signal_is_left_out_where_all_are_compared() -> None:
    (scale,) = (p for p in panels(board(BOARDS[-1])) if p["title"] == "All signals on one scale")
    (target,) = scale["targets"]
    assert "by (stream, slice, signal)" in target["expr"]
    assert "signal=" not in target["expr"]
    assert scale["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]["value"] == 1


def test_alerts_are_those_of_the_one_list_of_rules() -> None:
    groups = yaml.safe_load(RULES)["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    made = managed_rules()
    assert [rule["title"].split()[0] for rule in made] == [rule["alert"] for rule in alerts]
    for one, other in zip(made, alerts, strict=True):
        assert one["data"][0]["model"]["expr"].count(other["expr"].strip()) == 2
        assert one["for"] == other.get("for", "0s")
        assert one["keepFiringFor"] == other.get("keep_firing_for", "0s")
        assert one["labels"] == other["labels"]


@pytest.mark.parametrize("rule", managed_rules(), ids=lambda rule: rule["title"])
def test_a_managed_alert_is_formed_as_grafana_reads_it(rule: Json) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", rule["uid"])
    refs = [part["refId"] for part in rule["data"]]
    assert refs in (["A", "C"], ["A", "N", "C"])
    assert [part["model"]["refId"] for part in rule["data"]] == refs
    assert rule["condition"] == "C"
    assert rule["data"][-1]["model"] == {
        "refId": "C",
        "type": "math",
        "expression": "is_number($A)",
    }
    (source,) = provisioned("datasources")["datasources"]
    assert {part["datasourceUid"] for part in rule["data"]} == {source["uid"], "__expr__"}
    assert (rule["noDataState"], rule["execErrState"]) == ("OK", "Error")
    # Grafana would take it for a variable of the environment.
    assert "$" not in "".join(rule["annotations"].values())
    assert rule["annotations"]["summary"]
    assert f"/runbooks/{rule['title'].split()[0]}" in rule["annotations"]["runbook_url"]


def test_titles_and_uids_of_managed_alerts_are_their_own() -> None:
    rules = managed_rules()
    assert len({rule["title"] for rule in rules}) == len(rules)
    assert len({rule["uid"] for rule in rules}) == len(rules)


def test_alerts_are_provisioned_as_one_group_in_a_folder() -> None:
    tree = yaml.safe_load(ALERTING.read_text())
    assert set(tree) == {"apiVersion", "groups"}
    (group,) = tree["groups"]
    assert {k: group[k] for k in ("orgId", "interval")} == {"orgId": 1, "interval": "1m"}
    assert group["folder"]


def test_the_data_source_is_the_prometheus_of_the_compose_file() -> None:
    (source,) = provisioned("datasources")["datasources"]
    service, _, port = source["url"].removeprefix("http://").partition(":")
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert compose[service]["ports"][0].endswith(f":{port}")
    assert (source["type"], source["access"]) == ("prometheus", "proxy")
    scrapes = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrapes["global"]["scrape_interval"]


def test_dashboards_are_read_where_the_compose_file_mounts_them() -> None:
    (provider,) = provisioned("dashboards")["providers"]
    assert provider["type"] == "file"
    mounts = dict(
        mount.split(":")[:2]
        for mount in yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["grafana"][
            "volumes"
        ]
    )
    assert mounts["../grafana/dashboards"] == provider["options"]["path"]
    for kind in ("datasources", "dashboards"):
        assert mounts[f"../grafana/provisioning/{kind}"] == f"/etc/grafana/provisioning/{kind}"
