"""What every panel of the dashboards has, its place included, as Grafana's JSON has it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

PREFIX = "mllm_monitor_"
DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
NO_TRAFFIC = "no traffic"
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
DASHED: Json = {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}


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
    nothing: str = NO_TRAFFIC  # what is said where there is no value

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
                    "noValue": self.nothing,
                    "custom": self.custom,
                    **self.defaults,
                    "mappings": [*self.defaults.get("mappings", ()), _where_nothing(self.nothing)],
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


def _where_nothing(text: str) -> Json:
    return {
        "type": "special",
        "options": {"match": "null+nan", "result": {"text": text, "color": "text"}},
    }


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


def dashed(legend: str) -> Json:
    """A line to compare the others with, not one of them."""
    return of_fields(f"{legend}$", DASHED)


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
