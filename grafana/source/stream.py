"""The dashboard *Stream*: everything that is measured of the streams and slices chosen."""

from grafana.source.boards import (
    EXTERNAL_URL,
    NEWEST_WINDOW,
    OF_STREAM,
    REFERENCE_CHANGED,
    SLICES,
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
from grafana.source.kinds import chart, stat, timeline
from grafana.source.measured import NATS, bound, made_of, of_slices, quality, traffic
from grafana.source.panels import GREEN, ORANGE, Json, Panel, Query, layout, meaning
from grafana.source.slices import slices_and_windows


def stream() -> Json:
    """One stream, or several beside each other."""
    return board(
        STREAM,
        "What is measured of a stream, against its calibrated thresholds.",
        layout(
            _strip(),
            [
                ("Signals against their thresholds", _signals()),
                ("Have the answers got worse", quality()),
                ("Has the traffic changed", traffic()),
                ("How bad could it be", bound()),
                ("What the windows were made of", made_of()),
                ("Slices and windows", slices_and_windows()),
            ],
        ),
        variables=[SOURCE, STREAMS, SLICES, EXTERNAL_URL],
        annotations=[REFERENCE_CHANGED, alerts_fired(f",{OF_STREAM}")],
    )


def _strip() -> list[Panel]:
    return [
        stat(
            "State",
            "Of the newest window.",
            "signal_drifting",
            STATE,
            legend="{{stream}}",
            mappings=meaning(STATES),
            colour="background",
            width=3,
            links=[NEWEST_WINDOW],
        ),
        stat(
            "Worst signal",
            "How far out the worst signal is: 0 is normal, 1 its threshold.",
            "signal_excess_ratio",
            f"topk by (stream) (1, max by (stream, signal)"
            f" (mllm_monitor_signal_excess_ratio{{{WHOLE}}}))",
            legend="{{signal}}",
            shows="value_and_name",
            nothing="not judged",
            steps=[(1, ORANGE)],
            width=3,
            decimals=1,
            links=[NEWEST_WINDOW],
        ),
        stat(
            "EMI",
            "Effective mutual information of the newest window; needs targets.",
            "emi_nats",
            of_whole("emi_nats"),
            legend="{{stream}}",
            nothing="no targets",
            unit=NATS,
            width=3,
            decimals=3,
        ),
        stat(
            "Bound on the drop",
            "How far EMI may have fallen, without the entropy factor.",
            "emid_bound",
            of_whole("emid_bound", 'form="unscaled"'),
            legend="{{stream}}",
            nothing="not judged",
            width=3,
            decimals=3,
        ),
        stat(
            "Samples",
            "Of the newest window.",
            "window_samples",
            of_whole("window_samples"),
            legend="{{stream}}",
            width=3,
        ),
        stat(
            "With a target",
            "Share of the newest window's samples; without targets nothing is said of quality.",
            "targets_ratio",
            of_streams("targets_ratio"),
            legend="{{stream}}",
            unit="percentunit",
            width=3,
        ),
        stat(
            "Age of the reference",
            "Since it was built, by the daemon's own clock.",
            "reference_created_timestamp_seconds",
            "max by (stream, name) ((scalar(max(mllm_monitor_snapshot_timestamp_seconds))"
            f" - mllm_monitor_reference_created_timestamp_seconds{{{OF_STREAM}}})"
            " * on (stream, instance, job) group_left (name) mllm_monitor_reference_info)",
            legend="{{name}}",
            shows="value_and_name",
            nothing="no reference",
            unit="s",
            width=3,
        ),
        stat(
            "Newest window",
            "Since it ended, by the daemon's own clock.",
            "window_end_timestamp_seconds",
            ago(f"mllm_monitor_window_end_timestamp_seconds{{{OF_STREAM}}}"),
            legend="{{stream}}",
            unit="s",
            width=3,
            links=[NEWEST_WINDOW],
        ),
    ]


def _signals() -> list[Panel]:
    return [
        chart(
            "All signals on one scale",
            "How far each is from its null, as a share of the way to its threshold: 0 is normal,"
            " 1 the threshold, whichever direction is the bad one.",
            "signal_excess_ratio",
            Query(of_slices("signal_excess_ratio", "signal"), "{{stream}} {{slice}} {{signal}}"),
            width=16,
            height=11,
            threshold=1,
            links=[STREAM_THEN],
        ),
        chart(
            "Evidence over windows",
            "What the windows say together, on a logarithmic scale; beyond 1 a shift lasts, even"
            " where no window is out by itself.",
            "signal_evidence_ratio",
            Query(of_slices("signal_evidence_ratio", "signal"), "{{stream}} {{slice}} {{signal}}"),
            width=8,
            height=11,
            threshold=1,
            min=0,
            links=[STREAM_THEN],
        ),
        timeline(
            "Verdicts",
            "What was out when.",
            "signal_drifting",
            Query(of_slices("signal_drifting", "signal"), "{{stream}} {{slice}} {{signal}}"),
            meaning({1: ("drifting", ORANGE), 0: ("in control", GREEN)}),
            height=11,
            links=[STREAM_THEN],
        ),
    ]
