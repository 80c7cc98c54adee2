"""The kinds of panels that the dashboards consist of."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from grafana.source.panels import RED, WIDTH, Json, Panel, Query, steps


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
            "mappings": more.pop("mappings", []),
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
            "mappings": mappings,
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
        defaults={"links": more.pop("links", [])},
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
        defaults={"thresholds": steps()},
    )
    return replace(panel, **more)
