"""The text for Prometheus is as the library makes it, and what stays is not made again."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.exposition import choose_encoder

from monitor.records import ALL, Measurement, Signal, Verdict, WindowId, WindowSummary
from monitor.service.snapshot import Snapshot, StreamState
from monitor.web import metrics
from monitor.web.metrics import Exposition, measured_families, other_families

START = datetime(2026, 3, 2, tzinfo=UTC)
SLIDE = timedelta(minutes=15)
HOSTILE = 'a"b\\c\n# EOF\n{x="y"} é'
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FORMATS = ("", "text/plain; version=1.0.0", OPENMETRICS)


def stream(name: str, value: float, slide: int = 0) -> StreamState:
    """A stream of which one window was measured: every signal, of everything and of a slice."""
    window = WindowId(START + slide * SLIDE, START + (slide + 4) * SLIDE)
    measured = tuple(
        Measurement(name, key, signal, window, 9, Verdict.DRIFTING, "n@1", value, 0.1, p_value=0.5)
        for key in (ALL, f"tenant={HOSTILE}")
        for signal in Signal
    )
    summary = WindowSummary(name, window, "n@1", 1, 9, 9, 3, {"inline": 2}, window.end)
    return StreamState(window.end, None, summary, measured, window.end)


def snapshot(*streams: StreamState, count: int = 1) -> Snapshot:
    named = {state.summary.stream: state for state in streams if state.summary}
    return Snapshot(START, {**named, "silent": StreamState(None, None)}, [("a", "b", "c", count)])


class Shown:
    """What is scraped, and the snapshot behind it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        Counter("mllm_monitor_jobs_total", "Of the process.", registry=self.registry).inc()
        self.snapshot = snapshot()
        self.exposition = Exposition(self.registry, lambda: self.snapshot, SLIDE)

    def text(self, accept: str = "") -> str:
        return self.exposition(accept)[0].decode()

    def collect(self) -> Iterable[Metric]:
        yield from measured_families(self.snapshot.streams)
        yield from other_families(self.snapshot, SLIDE)
        yield from self.registry.collect()


@pytest.mark.parametrize("accept", FORMATS)
def test_the_text_is_what_the_library_makes_of_all_of_it(accept: str) -> None:
    shown = Shown()
    shown.snapshot = snapshot(stream("llava", 0.25), stream(HOSTILE, 1e-7))
    encode, content_type = choose_encoder(accept)
    assert shown.exposition(accept) == (encode(shown), content_type)  # type: ignore[arg-type]


@pytest.mark.parametrize("escaping", ["allow-utf-8", "dots", "values"])
@pytest.mark.parametrize("accept", FORMATS[1:])
def test_names_are_the_same_whatever_escaping_is_asked_for(accept: str, escaping: str) -> None:
    shown = Shown()
    shown.snapshot = snapshot(stream("llava", 0.25))
    asked = f"{accept}; escaping={escaping};q=0.6,*/*;q=0.1"
    assert shown.exposition(asked) == shown.exposition(accept)


def test_a_stream_that_was_measured_again_shows_that_and_the_others_stay() -> None:
    shown = Shown()
    shown.snapshot = snapshot(stream("a", 0.25), stream("b", 0.5))
    before = shown.text()
    shown.snapshot = snapshot(stream("a", 0.75, slide=1), stream("b", 0.5))
    of_a = 'mllm_monitor_emi_nats{slice="all",stream="a"} '
    of_b = 'mllm_monitor_emi_nats{slice="all",stream="b"} 0.5\n'
    assert f"{of_a}0.25\n" in before
    assert f"{of_a}0.75\n" in (after := shown.text())
    assert before.count(of_b) == after.count(of_b) == 1


def test_measurements_that_were_replaced_are_shown_though_the_window_is_the_same() -> None:
    shown = Shown()
    for value in (0.25, 0.75):
        shown.snapshot = snapshot(stream("a", value))
        assert f'mllm_monitor_emi_nats{{slice="all",stream="a"}} {value}\n' in shown.text()


def test_a_stream_that_left_is_shown_no_more() -> None:
    shown = Shown()
    shown.snapshot = snapshot(stream("a", 0.25))
    shown.text()
    shown.snapshot = snapshot()
    assert 'stream="a"' not in shown.text()


def test_lines_of_measurements_are_made_once_for_all_formats_and_scrapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def counted(streams: dict[str, StreamState]) -> Iterable[Metric]:
        made.extend(streams)
        return measured_families(streams)

    monkeypatch.setattr(metrics, "measured_families", counted)
    shown = Shown()
    for count, accept in enumerate(FORMATS):
        shown.snapshot = snapshot(stream("a", 0.25), count=count)
        shown.text(accept)
    assert sorted(made) == ["a", "silent"]
