"""The rows of *Stream* that show what is measured, a question each."""

from typing import Any

from grafana.source.boards import OF_SLICE, OF_STREAM, STREAM_THEN, of_streams, of_whole
from grafana.source.kinds import chart
from grafana.source.panels import DASHED, RED, Panel, Query, dashed, of_fields

NATS = "suffix: nats"


def of_slices(metric: str, by: str = "", matchers: str = "") -> str:
    """A metric of the chosen slices, whichever process it came from."""
    labels = f"stream, slice, {by}" if by else "stream, slice"
    more = f",{matchers}" if matchers else ""
    return f"max by ({labels}) (mllm_monitor_{metric}{{{OF_SLICE}{more}}})"


def _judged(
    title: str, text: str, metric: str, values: str, legend: str, signals: str, **more: Any
) -> Panel:
    """Values beside the thresholds that they are judged by."""
    thresholds = of_slices("signal_threshold", "signal", f'signal=~"{signals}"')
    return chart(
        title,
        text,
        metric,
        Query(values, legend),
        Query(thresholds, "{{stream}} {{slice}} {{signal}} threshold"),
        overrides=[dashed(" threshold")],
        links=[STREAM_THEN],
        **more,
    )


def quality() -> list[Panel]:
    emi = of_whole("emi_nats")
    half = f"1.96 * {of_whole('emi_stderr_nats')}"
    return [
        chart(
            "EMI of $stream",
            "Effective mutual information of the whole stream with its 95 % interval, and the"
            " threshold below which answers got worse.",
            "emi_nats",
            Query(emi, "EMI"),
            Query(f"{emi} + {half}", "upper"),
            Query(f"{emi} - {half}", "lower"),
            Query(of_whole("signal_threshold", 'signal="emi"'), "threshold"),
            unit=NATS,
            width=24,
            repeat="stream",
            overrides=[
                of_fields(
                    "^upper$",
                    {"id": "custom.fillBelowTo", "value": "lower"},
                    {"id": "custom.lineWidth", "value": 0},
                    {"id": "custom.fillOpacity", "value": 15},
                ),
                of_fields("^lower$", {"id": "custom.lineWidth", "value": 0}),
                of_fields(
                    "^threshold$",
                    DASHED,
                    {"id": "color", "value": {"mode": "fixed", "fixedColor": RED}},
                ),
            ],
            links=[STREAM_THEN],
        ),
        _judged(
            "Drop of EMI",
            "EMI of the reference minus EMI of the window; positive is worse.",
            "emid_nats",
            of_slices("emid_nats"),
            "{{stream}} {{slice}}",
            "emid",
            unit=NATS,
            width=8,
        ),
        chart(
            "Information between queries and answers",
            "Of queries with responses and with targets; EMI is their difference.",
            "mutual_information_nats",
            Query(
                of_slices("mutual_information_nats", "pair", 'pair=~"query_.+"'),
                "{{stream}} {{slice}} {{pair}}",
            ),
            unit=NATS,
            width=8,
            links=[STREAM_THEN],
        ),
        _judged(
            "Responses against targets",
            "How unlike the targets the responses of the window are.",
            "discrepancy_nats",
            of_slices("discrepancy_nats", "modality", 'modality="output_gap"'),
            "{{stream}} {{slice}} {{modality}}",
            "output_gap",
            unit=NATS,
            width=8,
            min=0,
        ),
    ]


def traffic() -> list[Panel]:
    return [
        _judged(
            "Discrepancies by modality",
            "How far the window is from the reference: 0 to ln 2. Says nothing about quality.",
            "discrepancy_nats",
            of_slices("discrepancy_nats", "modality", 'modality=~"visual|textual|response"'),
            "{{stream}} {{slice}} {{modality}}",
            "visual_discrepancy|textual_discrepancy|response_discrepancy",
            unit=NATS,
            min=0,
        ),
        _judged(
            "Novelty",
            "Share of events farther from the reference than 99 % of its own.",
            "novelty_ratio",
            of_slices("novelty_ratio", "modality"),
            "{{stream}} {{slice}} {{modality}}",
            "novelty_visual|novelty_textual",
            unit="percentunit",
            min=0,
        ),
        _judged(
            "Do images and texts belong together",
            "Information between the images and the texts of the same queries.",
            "mutual_information_nats",
            of_slices("mutual_information_nats", "pair", 'pair="image_text"'),
            "{{stream}} {{slice}} {{pair}}",
            "image_text_agreement",
            unit=NATS,
        ),
        chart(
            "Exchanges with an image",
            "Lost in the log or not.",
            "image_share_ratio",
            Query(of_slices("image_share_ratio"), "{{stream}} {{slice}}"),
            unit="percentunit",
            min=0,
            max=1,
            links=[STREAM_THEN],
        ),
    ]


def bound() -> list[Panel]:
    whole = of_whole("emid_bound", 'form="%s"')
    part = of_whole("discrepancy_nats", 'modality="%s"') + " ^ %s"
    gap = part % ("output_gap", "0.25")
    return [
        _judged(
            "Bound",
            "How far EMI may have fallen: without and with the entropy factor, and from the inputs"
            " alone. Often far from tight.",
            "emid_bound",
            of_slices("emid_bound", "form"),
            "{{stream}} {{slice}} {{form}}",
            "emid_bound|emid_bound_unscaled|input_bound",
            min=0,
        ),
        chart(
            "Its parts",
            "What the bound without the entropy factor adds up from: roots of the discrepancies of"
            " images and texts, and fourth roots of what separates responses from targets, in the"
            " reference and in the window.",
            "emid_bound",
            Query(part % ("visual", "0.5"), "{{stream}} images"),
            Query(part % ("textual", "0.5"), "{{stream}} texts"),
            Query(
                f"{whole % 'unscaled'} - {whole % 'input'} - {gap}",
                "{{stream}} responses and targets of the reference",
            ),
            Query(gap, "{{stream}} responses and targets of the window"),
            stacked=True,
            min=0,
            links=[STREAM_THEN],
        ),
    ]


def made_of() -> list[Panel]:
    return [
        chart(
            "Samples of each window",
            "What each verdict rests on; below the dashed line there is none.",
            "window_samples",
            Query(of_slices("window_samples"), "{{stream}} {{slice}}"),
            Query("max(mllm_monitor_window_min_samples)", "needed"),
            min=0,
            width=8,
            overrides=[dashed("needed")],
            links=[STREAM_THEN],
        ),
        chart(
            "Targets",
            "Share of the samples with a target, and of the targets that the teacher gave.",
            "targets_ratio",
            Query(of_streams("targets_ratio"), "{{stream}}"),
            Query(of_streams("teacher_targets_ratio"), "{{stream}} of these by the teacher"),
            unit="percentunit",
            min=0,
            max=1,
            width=8,
            links=[STREAM_THEN],
        ),
        chart(
            "Images by state",
            "How images reached the log; a change is one of logging, not of traffic.",
            "image_state_ratio",
            Query(
                f"max by (stream, state) (mllm_monitor_image_state_ratio{{{OF_STREAM}}}) > 0",
                "{{stream}} {{state}}",
            ),
            unit="percentunit",
            min=0,
            stacked=True,
            width=8,
            links=[STREAM_THEN],
        ),
        _judged(
            "Logging changed",
            "Share of the images by which a state has grown or shrunk most since the reference.",
            "image_logging_shift_ratio",
            of_slices("image_logging_shift_ratio"),
            "{{stream}} {{slice}}",
            "image_logging",
            unit="percentunit",
            min=0,
            width=24,
        ),
    ]
