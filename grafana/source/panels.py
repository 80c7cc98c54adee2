"""The kinds of panels that the dashboards consist of, as Grafana's JSON has them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Json = dict[str, Any]

PREFIX = "mllm_monitor_"
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
NO_TRAFFIC = "no traffic"
NOTHING: Json = {
    "type": "special",
    "options": {"match": "null+nan", "result": {"text": NO_TRAFFIC, "color": "text"}},
}
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
DASHED: Json = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}
THIN: Json = {"id": "custom.fillOpacity", "value": 0}


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel; a table takes the newest values, a chart their history."""

    expr: str
    legend: str = ""
    instant: bool = False
    table: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel without its place; ``layout`` gives it one."""

    kind: str
    title: str
    text: str
    metric: str
    queries: Sequence[Query]
    width: int
    height: int
    unit: str = "none"
    options: Json = field(default_factory=dict)
    custom: Json = field(default_factory=dict)
    defaults: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()
    repeat: str = ""

    @property
    def metric_name(self) -> str:
        """The exported name; what is not ours has no prefix of ours."""
        return self.metric.removeprefix("=") if self.metric[:1] == "=" else PREFIX + self.metric

    def json(self, number: int, x: int, y: int) -> Json:
        """What Grafana reads."""
        made: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": f"{self.text} {self.metric_name}",
            "datasource": DATASOURCE,
            "gridPos": {"h": self.height, "w": self.width, "x": x, "y": y},
            "targets": [_target(query, i) for i, query in enumerate(self.queries)],
            "fieldConfig": {
                "defaults": {
                    "unit": self.unit,
                    "noValue": NO_TRAFFIC,
                    "custom": self.custom,
                    **self.defaults,
                },
                "overrides": list(self.overrides),
            },
            "options": self.options,
        }
        if self.transformations:
            made["transformations"] = list(self.transformations)
        if self.repeat:
            made |= {"repeat": self.repeat, "repeatDirection": "h", "maxPerRow": 2}
        return made


def _target(query: Query, position: int) -> Json:
    return {
        "refId": chr(ord("A") + position),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": query.instant,
        "range": not query.instant,
        "format": "table" if query.table else "time_series",
        "editorMode": "code",
    }


def stat(title: str, text: str, metric: str, expr: str, **more: Any) -> Panel:
    """A newest value of the strip on top."""
    colour = more.pop("colour", "value")
    shown = {"decimals": more.pop("decimals")} if "decimals" in more else {}
    panel = Panel(
        "stat",
        title,
        text,
        metric,
        [Query(expr, more.pop("legend", ""), instant=True)],
        width=more.pop("width", 4),
        height=4,
        options={
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "colorMode": colour,
            "graphMode": "none",
            "textMode": more.pop("shows", "auto"),
            "justifyMode": "auto",
            "orientation": "auto",
        },
        defaults={
            "thresholds": steps(*more.pop("steps", ())),
            "mappings": [*more.pop("mappings", ()), NOTHING],
            "links": more.pop("links", []),
            **shown,
        },
    )
    return replace(panel, **more)


def chart(title: str, text: str, metric: str, *queries: Query, **more: Any) -> Panel:
    """Lines over time."""
    line = more.pop("threshold", None)
    stacked = more.pop("stacked", False)
    defaults: Json = {
        "color": {"mode": "palette-classic"},
        "links": more.pop("links", []),
        "mappings": [],
        "thresholds": steps((line, RED)) if line is not None else steps(),
    }
    defaults |= {k: more.pop(k) for k in ("min", "max") if k in more}
    panel = Panel(
        "timeseries",
        title,
        text,
        metric,
        queries,
        width=more.pop("width", 12),
        height=8,
        options={
            "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        custom={
            "drawStyle": "line",
            "lineInterpolation": "stepAfter",
            "lineWidth": 1,
            "fillOpacity": 30 if stacked else 0,
            "showPoints": "auto",
            "spanNulls": False,
            "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "dashed" if line is not None else "off"},
        },
        defaults=defaults,
    )
    return replace(panel, **more)


def timeline(
    title: str, text: str, metric: str, query: Query, mappings: Sequence[Json], **more: Any
) -> Panel:
    """States over time, a row for each series."""
    panel = Panel(
        "state-timeline",
        title,
        text,
        metric,
        [query],
        width=WIDTH,
        height=8,
        options={
            "showValue": "never",
            "mergeValues": True,
            "rowHeight": 0.8,
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "single"},
        },
        custom={"fillOpacity": 80, "lineWidth": 0, "spanNulls": False},
        defaults={
            "color": {"mode": "thresholds"},
            "thresholds": steps(),
            "mappings": [*mappings, NOTHING],
            "links": more.pop("links", []),
        },
    )
    return replace(panel, **more)


def heatmap(title: str, text: str, metric: str, query: Query, **more: Any) -> Panel:
    """Colours by time and series; from 0, which is normal, to twice the threshold."""
    panel = Panel(
        "heatmap",
        title,
        text,
        metric,
        [query],
        width=WIDTH,
        height=9,
        options={
            "calculate": False,
            "cellGap": 1,
            "cellValues": {"decimals": 1},
            "color": {
                "mode": "scheme",
                "scheme": "RdYlGn",
                "reverse": True,
                "steps": 64,
                "min": 0,
                "max": 2,
            },
            "rowsFrame": {"layout": "auto", "value": "times the threshold"},
            "yAxis": {"axisPlacement": "left", "reverse": False},
            "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": False},
            "legend": {"show": True},
        },
        custom={"scaleDistribution": {"type": "linear"}},
    )
    return replace(panel, **more)


def table(title: str, text: str, metric: str, queries: Sequence[Query], **more: Any) -> Panel:
    """Rows of values; the transformations join the queries and name the columns."""
    panel = Panel(
        "table",
        title,
        text,
        metric,
        queries,
        width=WIDTH,
        height=9,
        options={"showHeader": True, "cellHeight": "sm", "sortBy": more.pop("sort", [])},
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "filterable": True},
        defaults={"mappings": [NOTHING], "thresholds": steps()},
    )
    return replace(panel, **more)


def steps(*above: tuple[float, str]) -> Json:
    """Green, and other colours from values on."""
    first: list[Json] = [{"color": GREEN, "value": None}]
    return {
        "mode": "absolute",
        "steps": first + [{"color": colour, "value": value} for value, colour in above],
    }


def meaning(texts: Mapping[int, tuple[str, str]]) -> list[Json]:
    """Words and colours for values."""
    options = {
        str(value): {"text": text, "color": colour, "index": i}
        for i, (value, (text, colour)) in enumerate(texts.items())
    }
    return [{"type": "value", "options": options}]


def of_field(name: str, **properties: Any) -> Json:
    """What holds for one column."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": k.replace("__", "."), "value": v} for k, v in properties.items()],
    }


def of_fields(pattern: str, *properties: Json) -> Json:
    """What holds for the series whose legend matches."""
    return {"matcher": {"id": "byRegexp", "options": pattern}, "properties": list(properties)}


def link(title: str, url: str) -> Json:
    """A link of a value, into a tab of its own."""
    return {"title": title, "url": url, "targetBlank": True}


def layout(strip: Iterable[Panel], rows: Iterable[tuple[str, Sequence[Panel]]]) -> list[Json]:
    """Panels from left to right, row below row."""
    made: list[Json] = []
    bottom = _place(made, strip, 0)
    for title, panels in rows:
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": bottom},
            }
        )
        bottom = _place(made, panels, bottom + 1)
    return made


def _place(made: list[Json], panels: Iterable[Panel], top: int) -> int:
    x, y, height = 0, top, 0
    for panel in panels:
        if x + panel.width > WIDTH:
            x, y, height = 0, y + height, 0
        made.append(panel.json(len(made) + 1, x, y))
        x, height = x + panel.width, max(height, panel.height)
    return y + height
