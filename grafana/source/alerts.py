"""Alerts for Grafana to manage itself, made from the one list of rules in deploy/prometheus.

Grafana cannot look further series up in an annotation, so the addresses of links come along as
labels and the number of samples as a second query. Annotations name no variable with a dollar sign:
in a file Grafana would take it for one of the environment.
"""

from pathlib import Path

import yaml

from grafana.source.boards import HEALTH, STREAM
from grafana.source.panels import Json

RULES = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "rules"
DATASOURCE_UID = "mllm-prometheus"
FOLDER = "MLLM drift monitor"
ABOUT = ("cluster", "namespace", "job", "stream", "slice", "signal")
ALSO = ("exported_job", "source", "format", "outcome")
# One, even if another address was set within the hour.
_ADDRESSES = (
    "topk by (cluster, namespace, job) (1, max by (cluster, namespace, job, external_url,"
    " grafana_url) (last_over_time(mllm_monitor_info[1h])))"
)
# Without the name of the series, which would be a label that the alert does not have.
_SAMPLES = (
    "max by (cluster, namespace, job, stream, slice) (stream_slice:mllm_monitor_window_samples:max)"
)


def _if(label: str, text: str) -> str:
    return f"{{{{ if .Labels.{label} }}}}{text}{{{{ end }}}}"


def _label(name: str) -> str:
    return f"{{{{ .Labels.{name} | urlquery }}}}"


_WHERE = "".join(
    _if(label, f" {text}{{{{ .Labels.{label} }}}}")
    for label, text in (
        ("stream", ""),
        ("slice", "slice "),
        ("signal", "by "),
        ("exported_job", "job "),
        ("source", "source "),
        ("outcome", "outcome "),
    )
)
_VALUE = '{{ with .Values.A }}: {{ printf "%.3g" .Value }}{{ end }}'
_N = '{{ with .Values.N }}, n = {{ printf "%.0f" .Value }}{{ end }}'
_WINDOW = (
    "/window?stream="
    + _label("stream")
    + _if("slice", "&slice=" + _label("slice"))
    + _if("signal", "&signal=" + _label("signal"))
)
_CHOSEN = "?var-stream=" + _label("stream") + _if("slice", "&var-slice=" + _label("slice"))


def alerts() -> Json:
    """The file below ``provisioning/alerting``."""
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.yml"))]
    groups = [group for file in files for group in file["groups"]]
    return {"apiVersion": 1, "groups": [_group(group) for group in groups]}


def _group(group: Json) -> Json:
    rules: list[Json] = []
    for rule in group["rules"]:
        if "alert" in rule:
            before = sum(_name(made) == rule["alert"] for made in rules)
            rules.append(_rule(rule, before + 1))
    return {"orgId": 1, "name": group["name"], "folder": FOLDER, "interval": "1m", "rules": rules}


def _name(made: Json) -> str:
    return str(made["title"]).split()[0]


def _rule(rule: Json, number: int) -> Json:
    # Titles are unique in a folder; two rules may be one alert.
    suffix = f" {number}" if number > 1 else ""
    is_about_stream = "/d/mllm-stream" in rule["annotations"].get("dashboard_url", "")
    return {
        "uid": f"{rule['alert']}{suffix.replace(' ', '-')}",
        "title": f"{rule['alert']}{suffix}",
        "condition": "C",
        "data": [
            _query("A", with_addresses(rule["expr"])),
            *([_query("N", _SAMPLES)] if is_about_stream else []),
            _fires_where_there_is("A"),
        ],
        # A rule that finds nothing is content.
        "noDataState": "OK",
        "execErrState": "Error",
        "for": rule.get("for", "0s"),
        "keepFiringFor": rule.get("keep_firing_for", "0s"),
        "labels": rule["labels"],
        "annotations": _annotations(rule, is_about_stream=is_about_stream),
    }


def with_addresses(expr: str) -> str:
    """The same series, with the addresses for links as labels where the monitor has told them."""
    return (
        f"(\n{expr}\n)\n* on (cluster, namespace, job) group_left (external_url, grafana_url)\n"
        f"{_ADDRESSES}\nor on ({', '.join(ABOUT + ALSO)})\n(\n{expr}\n)"
    )


def _query(ref: str, expr: str) -> Json:
    return {
        "refId": ref,
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": DATASOURCE_UID,
        "model": {
            "refId": ref,
            "expr": expr,
            "instant": True,
            "range": False,
            "editorMode": "code",
        },
    }


def _fires_where_there_is(ref: str) -> Json:
    """Prometheus fires for each series that there is, a value of 0 included."""
    return {
        "refId": "C",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": "__expr__",
        "model": {"refId": "C", "type": "math", "expression": f"is_number(${ref})"},
    }


def _annotations(rule: Json, *, is_about_stream: bool) -> Json:
    given = rule["annotations"]
    made = {
        "summary": given["summary"],
        "description": f"{given['summary']}{_WHERE}{_VALUE}{_N if is_about_stream else ''}.",
        "runbook_url": _at("external_url", f"/runbooks/{rule['alert']}"),
    }
    if "page_url" in given:
        made["page_url"] = _at("external_url", _page(given["page_url"]))
    if "dashboard_url" in given:
        path = f"/d/{STREAM}{_CHOSEN}" if is_about_stream else f"/d/{HEALTH}"
        made["dashboard_url"] = _at("grafana_url", path)
    return made


def _page(given: str) -> str:
    if "/window?" in given:
        return _WINDOW
    return f"/stream?name={_label('stream')}" if "/stream?" in given else "/"


def _at(address: str, path: str) -> str:
    """A link below an address, nothing where it is not known."""
    return _if(address, f"{{{{ .Labels.{address} }}}}{path}")
