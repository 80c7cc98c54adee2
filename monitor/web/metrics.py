"""The snapshot as Prometheus metrics. Names are listed in docs/metrics.md."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
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


_END = b"# EOF\n"  # of OpenMetrics
# No name of ours needs any, and those who ask for dots would be given names that no rule knows.
_ESCAPING = re.compile(r";\s*escaping=[^;,]*")


@dataclass(frozen=True, slots=True)
class _Lines:
    """What was measured of a stream, as lines of text by family."""

    state: StreamState
    of_family: Mapping[str, bytes]

    @classmethod
    def of(cls, stream: str, state: StreamState) -> Self:
        found = {}
        for family in measured_families({stream: state}):
            _help, _type, found[family.name] = generate_latest(_Families([family])).split(b"\n", 2)
        return cls(state, found)

    def are_of(self, state: StreamState) -> bool:
        ours = self.state
        return (ours.summary, ours.measurements) == (state.summary, state.measurements)


class Exposition:
    """What Prometheus is given: one snapshot and all that is registered, as text of the library.

    Of many streams nearly all of it is measurements. They change once in a slide and are asked for
    far more often, at 9 us a line: the lines of a stream are kept until it is measured again. They
    are the same in every format of the library. May be called from any thread.
    """

    def __init__(
        self, registry: CollectorRegistry, latest: Callable[[], Snapshot], slide: timedelta
    ) -> None:
        self._registry = registry
        self._latest = latest
        self._slide = slide
        self._lines: Mapping[str, _Lines] = {}

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """The text in the format that is asked for, and its content type."""
        accept = _ESCAPING.sub("", accept)
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # the library takes any version for a number
            encode, content_type = choose_encoder("")
        snapshot = self._latest()
        lines = self._lines_of(snapshot)
        parts: list[bytes] = []
        for family in measured_families({}):
            parts.append(encode(_Families([family])).removesuffix(_END))
            parts += [stream.of_family[family.name] for stream in lines]
        parts.append(encode(_Families(other_families(snapshot, self._slide))).removesuffix(_END))
        parts.append(encode(self._registry))
        return b"".join(parts), content_type

    def _lines_of(self, snapshot: Snapshot) -> Iterable[_Lines]:
        before, now = self._lines, dict[str, _Lines]()
        for stream, state in snapshot.streams.items():
            known = before.get(stream)
            now[stream] = known if known and known.are_of(state) else _Lines.of(stream, state)
        self._lines = now
        return now.values()


class _Families(Collector):
    """Families as the library takes them to render them."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def other_families(snapshot: Snapshot, slide: timedelta) -> Iterator[Metric]:
    """Fresh families of all in the snapshot that is not measured."""
    yield from _windows(snapshot, slide)
    yield from _traffic(snapshot)
    yield from _references(snapshot)
    yield from _counted(snapshot)


def _windows(snapshot: Snapshot, slide: timedelta) -> Iterable[Metric]:
    interval = _gauge("window_interval_seconds", "Step between successive windows.")
    interval.add_metric([], slide.total_seconds())
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
    states = _gauge("image_state_ratio", "Share of its images in each state.", "stream", "state")
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


def measured_families(streams: Mapping[str, StreamState]) -> Sequence[Metric]:
    """Fresh families of what was measured, all of them gauges."""
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
    for stream, state in streams.items():
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
