"""The snapshot as Prometheus metrics. Names are listed in docs/metrics.md."""

import math
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from monitor.records import ALL, ImageState, Measurement, Signal, Verdict
from monitor.service.intake import SAMPLED, UNKNOWN_KEYS
from monitor.service.snapshot import Snapshot, StreamState

PREFIX = "mllm_monitor_"
# Signal -> (metric, label of its own, value of that label).
_VALUES: dict[Signal, tuple[str, str | None, str]] = {
    Signal.VISUAL_DISCREPANCY: ("discrepancy_nats", "modality", "visual"),
    Signal.TEXTUAL_DISCREPANCY: ("discrepancy_nats", "modality", "textual"),
    Signal.RESPONSE_DISCREPANCY: ("discrepancy_nats", "modality", "response"),
    Signal.OUTPUT_GAP: ("discrepancy_nats", "modality", "output_gap"),
    Signal.MI_QUERY_RESPONSE: ("mutual_information_nats", "pair", "query_response"),
    Signal.MI_QUERY_TARGET: ("mutual_information_nats", "pair", "query_target"),
    Signal.IMAGE_TEXT_AGREEMENT: ("mutual_information_nats", "pair", "image_text"),
    Signal.EMI: ("emi_nats", None, ""),
    Signal.EMID: ("emid_nats", None, ""),
    Signal.EMID_BOUND_UNSCALED: ("emid_bound", "form", "unscaled"),
    Signal.EMID_BOUND: ("emid_bound", "form", "scaled"),
    Signal.INPUT_BOUND: ("emid_bound", "form", "input"),
    Signal.NOVELTY_VISUAL: ("novelty_ratio", "modality", "visual"),
    Signal.NOVELTY_TEXTUAL: ("novelty_ratio", "modality", "textual"),
    Signal.IMAGE_SHARE: ("image_share_ratio", None, ""),
    Signal.IMAGE_LOGGING: ("image_logging_shift_ratio", None, ""),
}
_VALUE_HELP = {
    "discrepancy_nats": "RJSD between reference and window; output_gap: responses and targets.",
    "mutual_information_nats": "Estimated mutual information of a pair (CLUB).",
    "emi_nats": "Effective mutual information: I(query; response) - I(query; target).",
    "emid_nats": "EMI of the reference minus EMI of the window; positive is worse.",
    "emid_bound": "Bound on the drop of EMI: unscaled, scaled by the entropy factor, input only.",
    "novelty_ratio": "Share of events farther from the reference than 99 % of its own.",
    "image_share_ratio": "Share of exchanges that came with an image, lost in the log or not.",
    "image_logging_shift_ratio": "Share of images by which a state has grown or shrunk most.",
}
_SIGNAL_HELP = {
    "threshold": "Calibrated threshold of a signal at the sample size of its window.",
    "p_value": "Share of drift-free pseudo-windows at least as extreme; never 0.",
    "excess_ratio": "(value - null mean) / (threshold - null mean): 0 is normal, 1 the threshold.",
    "drifting": "1 where the signal is beyond its threshold.",
    "evidence_ratio": "log(1 + evidence over windows) / log(1 + its threshold): 1 the threshold.",
    "persistent": "1 where the windows together say that a shift, small or not, lasts.",
}


class SnapshotCollector(Collector):
    """Renders the newest snapshot at scrape time; computes nothing and touches no database."""

    def __init__(self, latest: Callable[[], Snapshot], *, window_interval_seconds: float) -> None:
        self._latest = latest
        self._interval = window_interval_seconds

    def describe(self) -> Iterable[Metric]:
        """Nothing is known before the first scrape."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Fresh families of everything in the snapshot."""
        snapshot = self._latest()
        yield from _measured(snapshot)
        yield from self._windows(snapshot)
        yield from _traffic(snapshot)
        yield from _references(snapshot)
        yield from _counted(snapshot)

    def _windows(self, snapshot: Snapshot) -> Iterable[Metric]:
        interval = _gauge("window_interval_seconds", "Step between successive windows.")
        interval.add_metric([], self._interval)
        end = _gauge("window_end_timestamp_seconds", "End of the newest window.", "stream")
        of_targets_end = _gauge(
            "targets_window_end_timestamp_seconds",
            "End of the newest window with enough targets.",
            "stream",
        )
        success = _gauge("window_last_success_timestamp_seconds", "When it was measured.", "stream")
        targets = _gauge("targets_ratio", "Share of its samples with a target.", "stream")
        of_teacher = _gauge(
            "teacher_targets_ratio", "Share of its targets that the teacher gave.", "stream"
        )
        states = _gauge(
            "image_state_ratio", "Share of its images in each state.", "stream", "state"
        )
        for stream, state in snapshot.streams.items():
            if state.summary is None:
                continue
            end.add_metric([stream], state.summary.window.end.timestamp())
            success.add_metric([stream], state.summary.measured_at.timestamp())
            if (emi := _emi_of(state)) is not None:
                of_targets_end.add_metric([stream], emi.window.end.timestamp())
            if state.measurements and state.summary.n:
                targets.add_metric([stream], state.summary.n_targets / state.summary.n)
            if state.measurements and state.summary.n_targets:
                share = state.summary.n_teacher_targets / state.summary.n_targets
                of_teacher.add_metric([stream], share)
            _add_image_states(states, stream, state)
        return (interval, end, of_targets_end, success, targets, of_teacher, states)


def _emi_of(state: StreamState) -> Measurement | None:
    whole = (m for m in state.measurements if (m.slice_key, m.signal) == (ALL, Signal.EMI))
    return next((m for m in whole if m.verdict is not Verdict.INSUFFICIENT), None)


def _traffic(snapshot: Snapshot) -> Iterable[Metric]:
    taken = _gauge("snapshot_timestamp_seconds", "When all of this was put together.")
    taken.add_metric([], snapshot.taken_at.timestamp())
    newest = _gauge("newest_exchange_timestamp_seconds", "Newest event time seen.", "stream")
    due = _gauge("windows_due", "Windows that should be measured and could not be.", "stream")
    for stream, state in snapshot.streams.items():
        if state.last_seen is not None:
            newest.add_metric([stream], state.last_seen.timestamp())
        due.add_metric([stream], state.windows_due)
    return (taken, newest, due)


def _references(snapshot: Snapshot) -> Iterable[Metric]:
    info = _gauge("reference_info", "The active reference.", "stream", "name", "digest", "encoder")
    created = _gauge("reference_created_timestamp_seconds", "When it was built.", "stream")
    targets = _gauge("reference_targets_ratio", "Share of it with a target.", "stream")
    for stream, state in snapshot.streams.items():
        if (version := state.reference) is None:
            continue
        info.add_metric([stream, version.name, version.digest[:12], version.encoder_digest[:12]], 1)
        created.add_metric([stream], version.created_at.timestamp())
        match version.facts:
            case {"calibration": {"exchanges": int(n), "targets": int(n_targets)}} if n:
                targets.add_metric([stream], n_targets / n)
    return (info, created, targets)


def _measured(snapshot: Snapshot) -> Iterable[Metric]:
    own = {metric: label for metric, label, _ in _VALUES.values()}
    values = {
        metric: _gauge(metric, _VALUE_HELP[metric], "stream", "slice", *([label] if label else []))
        for metric, label in own.items()
    }
    stderr = _gauge("emi_stderr_nats", "Standard error of emi_nats.", "stream", "slice")
    emi_samples = _gauge(
        "emi_samples", "Samples with a target that emi_nats is of.", "stream", "slice"
    )
    samples = _gauge("window_samples", "Samples of the newest window.", "stream", "slice")
    signals = {
        name: _gauge(f"signal_{name}", text, "stream", "slice", "signal")
        for name, text in _SIGNAL_HELP.items()
    }
    for stream, state in snapshot.streams.items():
        if state.measurements and state.summary is not None:
            samples.add_metric([stream, ALL], state.summary.n)
        for m in state.measurements:
            if m.slice_key != ALL and m.signal is Signal.IMAGE_SHARE:  # counts every event
                samples.add_metric([stream, m.slice_key], m.n)
            if m.verdict is Verdict.INSUFFICIENT or m.value is None:
                continue
            metric, _, own_value = _VALUES[m.signal]
            where = [stream, m.slice_key]
            values[metric].add_metric([*where, own_value] if own_value else where, m.value)
            if m.signal is Signal.EMI and m.stderr is not None:
                stderr.add_metric(where, m.stderr)
                emi_samples.add_metric(where, m.n)
            _add_signal(signals, [*where, m.signal.value], m)
    return (*values.values(), stderr, emi_samples, samples, *signals.values())


def _add_signal(families: dict[str, GaugeMetricFamily], labels: list[str], m: Measurement) -> None:
    found = {
        "threshold": m.threshold,
        "p_value": m.p_value,
        "excess_ratio": m.excess_ratio,
        "drifting": float(m.verdict is Verdict.DRIFTING),
        "evidence_ratio": _evidence_ratio(m),
        "persistent": None if m.persistent is None else float(m.persistent),
    }
    for name, value in found.items():
        if value is not None:
            families[name].add_metric(labels, value)


def _evidence_ratio(m: Measurement) -> float | None:
    if m.evidence is None or m.evidence_threshold is None:
        return None
    return math.log1p(m.evidence) / math.log1p(m.evidence_threshold)


def _add_image_states(family: GaugeMetricFamily, stream: str, state: StreamState) -> None:
    counts = state.summary.image_states if state.summary and state.measurements else {}
    total = sum(counts.values())
    for image_state in ImageState if total else ():
        share = counts.get(image_state.value, 0) / total
        family.add_metric([stream, image_state.value], share)


def _counted(snapshot: Snapshot) -> Iterable[Metric]:
    exchanges = CounterMetricFamily(
        PREFIX + "exchanges",
        "Records read, by what became of them.",
        labels=["source", "format", "outcome"],
    )
    unknown_keys = CounterMetricFamily(
        PREFIX + "unknown_keys",
        "Lines with top-level keys that were ignored; they are among exchanges_total as well.",
        labels=["source", "format"],
    )
    sampled = 0
    for source, format_name, outcome, count in snapshot.counts:
        if outcome == SAMPLED:
            sampled += count
        elif outcome == UNKNOWN_KEYS:
            unknown_keys.add_metric([source, format_name], count)
        else:
            exchanges.add_metric([source, format_name, outcome], count)
    kept = CounterMetricFamily(PREFIX + "sampled", "Exchanges that the sampling rule kept.")
    kept.add_metric([], sampled)
    pending = _gauge("pending_samples", "Samples that wait for their embeddings.")
    pending.add_metric([], snapshot.pending_samples)
    return (exchanges, unknown_keys, kept, pending)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=list(labels))
