"""What the dashboards have in common: variables, links, annotations and the page around panels."""

from collections.abc import Sequence

from grafana.source.panels import DATASOURCE, Json, link

FLEET, STREAM, HEALTH = "mllm-fleet", "mllm-stream", "mllm-monitor-health"
TITLES = {
    FLEET: "MLLM drift: fleet",
    STREAM: "MLLM drift: stream",
    HEALTH: "MLLM drift: monitor health",
}
OF_STREAM = 'stream=~"$stream"'
OF_SLICE = f'{OF_STREAM},slice=~"$slice"'
WHOLE = f'{OF_STREAM},slice="all"'


def of_whole(metric: str, matchers: str = "") -> str:
    """A metric of the whole of each chosen stream, whichever process it came from."""
    more = f",{matchers}" if matchers else ""
    return f"max by (stream) (mllm_monitor_{metric}{{{WHOLE}{more}}})"


def of_streams(metric: str) -> str:
    """The same of one that is not told apart by slice."""
    return f"max by (stream) (mllm_monitor_{metric}{{{OF_STREAM}}})"


def ago(moment: str) -> str:
    """Seconds since a moment of each stream, by the daemon's own clock."""
    return f"max by (stream) (scalar(max(mllm_monitor_snapshot_timestamp_seconds)) - {moment})"


_PAGE = "${external_url}"
_STREAM_LABEL = "${__field.labels.stream:percentencode}"
_SLICE_LABEL = "${__field.labels.slice:percentencode}"
# A point in time need not be the end of a window, so it leads to the stream up to then.
STREAM_THEN = link(
    "The stream's page up to here",
    f"{_PAGE}/stream?name={_STREAM_LABEL}&end=${{__value.time:date:seconds}}",
)
NEWEST_WINDOW = link("Page of the newest window", f"{_PAGE}/window?stream={_STREAM_LABEL}")
NEWEST_WINDOW_OF_SLICE = link(
    "Page of the newest window", f"{_PAGE}/window?stream={_STREAM_LABEL}&slice={_SLICE_LABEL}"
)

# What a stream looks like now, worst first.
DRIFTING = of_whole("signal_drifting")
ANSWERS_WORSE = of_whole("signal_drifting", 'signal=~"emi|emid"')
PERSISTENT = of_whole("signal_persistent")
STATE = f"""3 * ({ANSWERS_WORSE} == 1)
or 2 * ({DRIFTING} == 1)
or ({PERSISTENT} == 1)
or 0 * {DRIFTING}
or 0 * {of_streams("newest_exchange_timestamp_seconds")} - 1"""
STATES = {
    3: ("answers worse", "red"),
    2: ("drifting", "orange"),
    1: ("slow drift", "yellow"),
    0: ("in control", "green"),
    -1: ("not judged", "text"),
}


def variable(name: str, query: str, *, label: str, default: Json | None = None) -> Json:
    """Values of a label to choose several of."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "StandardVariableQuery"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": default or {"text": ["All"], "value": ["$__all"]},
    }


SOURCE: Json = {
    "name": "datasource",
    "label": "Prometheus",
    "type": "datasource",
    "query": "prometheus",
    "refresh": 1,
    "current": {},
}
STREAMS = variable(
    "stream",
    "label_values(mllm_monitor_newest_exchange_timestamp_seconds, stream)",
    label="Stream",
)
SLICES = variable(
    "slice",
    f"label_values(mllm_monitor_window_samples{{{OF_STREAM}}}, slice)",
    label="Slice",
    default={"text": ["all"], "value": ["all"]},
)
EXTERNAL_URL = variable(
    "external_url", "label_values(mllm_monitor_info, external_url)", label="Monitor"
) | {"hide": 2, "multi": False, "includeAll": False, "current": {}}

REFERENCE_CHANGED: Json = {
    "name": "Reference changed",
    "datasource": DATASOURCE,
    "enable": True,
    "iconColor": "blue",
    # Back within an hour, as after a restart, is no change.
    "expr": f"max by (stream, name, digest) (mllm_monitor_reference_info{{{OF_STREAM}}}) unless on"
    f" (stream, digest) max by (stream, digest) (last_over_time(mllm_monitor_reference_info"
    f"{{{OF_STREAM}}}[1h] offset 1m))",
    "step": "60s",
    "titleFormat": "{{stream}}: another reference",
    "textFormat": "{{name}}@{{digest}}",
    "tagKeys": "stream",
}


def alerts_fired(matchers: str) -> Json:
    """Marks where alerts of the rules in deploy/prometheus were firing."""
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'max by (alertname, severity, stream, slice, signal) (ALERTS{alertstate="firing",'
        f'alertname=~"MllmMonitor.+",severity!="none"{matchers}}})',
        "step": "60s",
        "titleFormat": "{{alertname}}",
        "textFormat": "{{stream}} {{slice}} {{signal}}",
        "tagKeys": "severity,stream,slice,signal",
    }


def board(
    uid: str,
    description: str,
    panels: Sequence[Json],
    *,
    variables: Sequence[Json],
    annotations: Sequence[Json],
) -> Json:
    """A dashboard with links to the others that take time and variables along."""
    others = [
        {
            "title": TITLES[other].removeprefix("MLLM drift: ").capitalize(),
            "type": "link",
            "url": f"/d/{other}",
            "icon": "dashboard",
            "keepTime": True,
            "includeVars": True,
            "targetBlank": False,
        }
        for other in TITLES
        if other != uid
    ]
    page = {
        "title": "Monitor's own page",
        "type": "link",
        "url": f"{_PAGE}/",
        "icon": "external link",
        "keepTime": False,
        "includeVars": False,
        "targetBlank": True,
    }
    return {
        "uid": uid,
        "title": TITLES[uid],
        "description": description,
        "tags": ["mllm-monitor"],
        "editable": False,
        "graphTooltip": 1,
        "schemaVersion": 39,
        "version": 1,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "utc",
        "links": [*others, page],
        "templating": {"list": list(variables)},
        "annotations": {"list": list(annotations)},
        "panels": list(panels),
    }
