"""The row of *Stream* that shows every slice beside the others, and windows one by one."""

from grafana.source.boards import NEWEST_WINDOW_OF_SLICE, OF_STREAM
from grafana.source.kinds import chart, heatmap, table
from grafana.source.panels import Json, Panel, Query, link, of_field

_OF_WINDOW = (
    "${external_url}/window?stream=${__data.fields.stream:percentencode}"
    "&end=${__data.fields.unix_seconds.numeric}"
)


def slices_and_windows() -> list[Panel]:
    """Whatever slice is chosen, all are shown: which one it is, is the question."""
    return [
        heatmap(
            "Slices",
            "Worst signal of each slice: green is normal, yellow its threshold, red twice that.",
            "signal_excess_ratio",
            Query(
                f"max by (stream, slice) (mllm_monitor_signal_excess_ratio{{{OF_STREAM}}})",
                "{{stream}} {{slice}}",
            ),
            links=[NEWEST_WINDOW_OF_SLICE],
        ),
        chart(
            "EMI by slice",
            "Effective mutual information of the slices with enough targets.",
            "emi_nats",
            Query(
                f"max by (stream, slice) (mllm_monitor_emi_nats{{{OF_STREAM}}})",
                "{{stream}} {{slice}}",
            ),
            unit="suffix: nats",
            links=[NEWEST_WINDOW_OF_SLICE],
        ),
        _windows(),
    ]


def _windows() -> Panel:
    ended: Json = {
        "mode": "binary",
        "binary": {"left": "Value", "operator": "*", "right": "1000"},
        "alias": "window ended",
        "replaceFields": False,
    }
    return table(
        "Windows",
        "Each window of the range shown, with a link to its page.",
        "window_end_timestamp_seconds",
        [
            Query(
                f"max by (stream) (mllm_monitor_window_end_timestamp_seconds{{{OF_STREAM}}})",
                table=True,
            )
        ],
        width=12,
        height=8,
        transformations=[
            {
                "id": "groupBy",
                "options": {
                    "fields": {
                        name: {"operation": "groupby", "aggregations": []}
                        for name in ("stream", "Value")
                    }
                },
            },
            {"id": "calculateField", "options": ended},
            {"id": "organize", "options": {"renameByName": {"Value": "unix_seconds"}}},
        ],
        overrides=[
            of_field(
                "window ended",
                unit="dateTimeAsIso",
                links=[link("Page of the window", _OF_WINDOW)],
            ),
            of_field("unix_seconds", decimals=0),
        ],
        sort=[{"displayName": "window ended", "desc": True}],
    )
