"""The dashboard *Fleet*: one row a stream."""

from grafana.source.boards import (
    ANSWERS_WORSE,
    DRIFTING,
    EXTERNAL_URL,
    FLEET,
    NEWEST_WINDOW,
    OF_STREAM,
    PERSISTENT,
    SOURCE,
    STATE,
    STATES,
    STREAM,
    STREAM_THEN,
    STREAMS,
    WHOLE,
    ago,
    alerts_fired,
    board,
    of_streams,
    of_whole,
)
from grafana.source.kinds import chart, stat, table, timeline
from grafana.source.panels import (
    ORANGE,
    RED,
    Json,
    Panel,
    Query,
    dashed,
    layout,
    link,
    meaning,
    of_field,
    steps,
)

# Zero where it has been so for longer than the range that is shown.
_SINCE = f"""1000 * (
  max_over_time((time() * ({DRIFTING} == bool 0))[$__range:$__interval]) and {DRIFTING} == 1
  or max_over_time((time() * ({DRIFTING} == bool 1))[$__range:$__interval]) and {DRIFTING} == 0
)"""
_LONGER: list[Json] = [{"type": "value", "options": {"0": {"text": "longer than shown"}}}]
_NEWEST_EXCHANGE = f"mllm_monitor_newest_exchange_timestamp_seconds{{{OF_STREAM}}}"
_FIRING = 'ALERTS{alertstate="firing",alertname=~"MllmMonitor.+",severity!="none"}'
_DASHBOARD = f"/d/{STREAM}?var-stream=${{__value.text:percentencode}}&${{__url_time_range}}"
_WINDOW = "${__data.fields.external_url}/window?stream=${__data.fields.stream:percentencode}"


def fleet() -> Json:
    """Everything that is watched, on one page."""
    return board(
        FLEET,
        "One row a stream: how it is now, by what and since when.",
        layout(
            _strip(),
            [
                ("Streams", [_streams(), _states()]),
                ("Over time", [_worst(), _emi(), _samples(), _age()]),
            ],
        ),
        variables=[SOURCE, STREAMS, EXTERNAL_URL],
        annotations=[alerts_fired("")],
    )


def _strip() -> list[Panel]:
    return [
        stat(
            "Streams watched",
            "Streams that any source has shown.",
            "newest_exchange_timestamp_seconds",
            f"count(count by (stream) ({_NEWEST_EXCHANGE})) or vector(0)",
        ),
        stat(
            "Answers worse",
            "Streams whose EMI or EMID is beyond its threshold.",
            "signal_drifting",
            f"count({ANSWERS_WORSE} == 1) or vector(0)",
            steps=[(1, RED)],
            colour="background",
        ),
        stat(
            "Drifting",
            "Streams with any signal beyond its threshold.",
            "signal_drifting",
            f"count({DRIFTING} == 1) or vector(0)",
            steps=[(1, ORANGE)],
            colour="background",
        ),
        stat(
            "Drifting slowly",
            "Streams that only their windows together show to have shifted.",
            "signal_persistent",
            f"count(({PERSISTENT} == 1) unless {DRIFTING} == 1) or vector(0)",
            steps=[(1, "yellow")],
            colour="background",
        ),
        stat(
            "Not judged",
            "Streams without a verdict: no reference, or too few samples.",
            "signal_drifting",
            f"count(max by (stream) ({_NEWEST_EXCHANGE}) unless {DRIFTING}) or vector(0)",
            steps=[(1, ORANGE)],
        ),
        stat(
            "Alerts firing",
            "Alerts of the rules in deploy/prometheus, other than the watchdog.",
            "=ALERTS",
            f"count({_FIRING}) or vector(0)",
            steps=[(1, ORANGE)],
        ),
    ]


def _streams() -> Panel:
    columns = {
        "A": ("state", STATE),
        "B": (
            "times its threshold",
            "topk by (stream) (1, max by (stream, signal)"
            f" (mllm_monitor_signal_excess_ratio{{{WHOLE}}}))",
        ),
        "C": ("EMI", of_whole("emi_nats")),
        "D": ("± (one standard error)", of_whole("emi_stderr_nats")),
        "E": ("since", _SINCE),
        "F": ("samples", of_whole("window_samples")),
        "G": (
            "newest window",
            f"1000 * {of_streams('window_end_timestamp_seconds')}",
        ),
        "H": (
            "monitor",
            f"max by (stream, external_url) ({_NEWEST_EXCHANGE}"
            " * on (job, instance) group_left (external_url) mllm_monitor_info)",
        ),
    }
    order = ["stream", "Value #A", "signal", *(f"Value #{ref}" for ref in list(columns)[1:])]
    return table(
        "Streams",
        "State of the newest window, its worst signal, EMI, and since when it has been in control"
        " or not. The stream leads to its dashboard, the window to its page.",
        "signal_excess_ratio",
        [Query(expr, instant=True, table=True) for _, expr in columns.values()],
        transformations=[
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True, "Value #H": True},
                    "renameByName": {f"Value #{ref}": name for ref, (name, _) in columns.items()}
                    | {"signal": "worst signal"},
                    "indexByName": {name: i for i, name in enumerate(order)},
                },
            },
        ],
        overrides=[
            of_field("stream", links=[link("Dashboard of the stream", _DASHBOARD)]),
            of_field(
                "state",
                mappings=meaning(STATES),
                custom__cellOptions={"type": "color-background"},
            ),
            of_field(
                "times its threshold",
                decimals=1,
                thresholds=steps((1, ORANGE)),
                custom__cellOptions={"type": "color-text"},
            ),
            of_field("EMI", decimals=3, unit="suffix: nats"),
            of_field("± (one standard error)", decimals=3, unit="suffix: nats"),
            of_field("since", unit="dateTimeFromNow", mappings=_LONGER),
            of_field(
                "newest window", unit="dateTimeFromNow", links=[link("Page of the window", _WINDOW)]
            ),
            # The link needs it; it was `hidden` before it was `hideFrom`.
            of_field("external_url", custom__hidden=True, custom__hideFrom={"viz": True}),
        ],
        nothing="not measured",
        sort=[{"displayName": "state", "desc": True}],
    )


def _states() -> Panel:
    return timeline(
        "States",
        "What each stream was like.",
        "signal_drifting",
        Query(STATE, "{{stream}}"),
        meaning(STATES),
        links=[STREAM_THEN],
    )


def _worst() -> Panel:
    return chart(
        "Worst signal",
        "The signal of each stream that is farthest out: 0 is normal, 1 its threshold.",
        "signal_excess_ratio",
        Query(of_whole("signal_excess_ratio"), "{{stream}}"),
        threshold=1,
        links=[STREAM_THEN],
    )


def _emi() -> Panel:
    return chart(
        "EMI",
        "Effective mutual information; needs targets, and lower is worse.",
        "emi_nats",
        Query(of_whole("emi_nats"), "{{stream}}"),
        unit="suffix: nats",
        links=[STREAM_THEN],
    )


def _samples() -> Panel:
    return chart(
        "Samples of the newest window",
        "How much each verdict rests on; below the dashed line there is none.",
        "window_samples",
        Query(of_whole("window_samples"), "{{stream}}"),
        Query("max(mllm_monitor_window_min_samples)", "needed"),
        overrides=[dashed("needed")],
        min=0,
        links=[NEWEST_WINDOW],
    )


def _age() -> Panel:
    return chart(
        "Since the newest exchange",
        "How long nothing was logged, by the daemon's own clock.",
        "newest_exchange_timestamp_seconds",
        Query(ago(_NEWEST_EXCHANGE), "{{stream}}"),
        unit="s",
        links=[STREAM_THEN],
    )
