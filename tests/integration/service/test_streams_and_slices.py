"""Logs as gateways and instrumentations write them: streams by a rule, slices by what they hold."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from monitor.records import ALL, Measurement, Signal
from monitor.service.ingest_job import Feed
from monitor.service.wiring import reading_of
from monitor.store.engine import Database
from monitor.store.samples import window_samples
from monitor.traffic.sources.jsonl import FileSource
from monitor.web.metrics import measured_families
from tests.integration.service.parts import (
    START,
    Rig,
    at,
    everything_measured,
    exchange,
    inline,
    late_target,
    outcomes,
    png,
    small_settings,
    store_reference,
)

QUESTIONS = {
    "en": "What can be seen in this picture, number {}?",
    "de": "Was ist auf diesem Bild zu sehen, Nummer {}?",
}
RULE = ["deployment", "tenant"]


def language(i: int) -> str:
    return "de" if i % 3 == 0 else "en"


def question(i: int) -> str:
    return QUESTIONS[language(i)].format(i)


def tenant(i: int) -> str:
    return "acme" if i % 2 else "bolt"


def litellm_line(i: int) -> str:
    image = {"url": f"data:image/png;base64,{inline(png(i % 7))['data']}"}
    content = [{"type": "text", "text": question(i)}, {"type": "image_url", "image_url": image}]
    record = {
        "litellm_call_id": f"call-{i}",
        "id": f"chatcmpl-{i}",
        "call_type": "acompletion",
        "status": "success",
        "startTime": at(i / 10).timestamp(),
        "endTime": at(i / 10).timestamp(),
        "model": "azure/vision-2026",
        "model_group": "vision",
        "user_agent": "OpenAI/Python 1.99.1" if i % 2 else "curl/8.5.0",
        "metadata": {"requester_metadata": {"tenant": tenant(i)}},
        "messages": [{"role": "user", "content": content}],
        "response": {"choices": [{"message": {"content": f"A dog, {i}."}}]},
    }
    return json.dumps(record)


def otlp_line(i: int) -> str:
    parts = [{"type": "text", "content": question(i)}]
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "vision",
        "gen_ai.response.model": "vision-2026-01-01",
        "gen_ai.input.messages": json.dumps([{"role": "user", "parts": parts}]),
        "gen_ai.output.messages": json.dumps(
            [{"role": "assistant", "parts": [{"type": "text", "content": f"A dog, {i}."}]}]
        ),
        "tenant": tenant(i),
    }
    time = str(int(at(i / 10).timestamp()) * 10**9)
    span = {
        "traceId": f"{i + 1:032x}",
        "spanId": f"{i + 1:016x}",
        "name": "chat vision",
        "startTimeUnixNano": time,
        "endTimeUnixNano": time,
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()],
    }
    scope = {"scope": {"name": "opentelemetry.instrumentation.genai.openai"}, "spans": [span]}
    return json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [scope]}]})


LINES = {"litellm": litellm_line, "otlp": otlp_line}


def measured(
    database: Database, folder: Path, lines: list[str], **sections: Mapping[str, object]
) -> Rig:
    """What becomes of a log of these lines."""
    log = folder / "log.jsonl"
    log.write_text("".join(f"{line}\n" for line in lines))
    sampling = {"per_pane": 500, **sections.pop("sampling", {})}
    settings = small_settings(folder, sampling=sampling, **sections)
    with database.begin() as session:
        store_reference(session)
    feed = Feed(FileSource("log", [str(log)], follow=True), "auto", reading_of(settings))
    rig = Rig(settings, database, [feed])
    with feed.source:
        rig.work()
    return rig


def whole_window(database: Database) -> list[Measurement]:
    """What a signal that every exchange takes part in says of the first window."""
    every = everything_measured(database)
    signal = Signal.TEXTUAL_DISCREPANCY
    return [m for m in every if m.window.start == START and m.signal is signal]


@pytest.mark.parametrize("form", LINES)
def test_a_log_gives_streams_by_the_rule_and_slices_by_language(
    database: Database, tmp_path: Path, form: str
) -> None:
    lines = [LINES[form](i) for i in range(120)]
    slices = {"labels": ["language"]}
    measured(database, tmp_path, lines, streams={"by": RULE}, slices=slices)
    sizes = {(m.stream, m.slice_key): m.n for m in whole_window(database)}
    assert sizes == {
        ("vision/acme", ALL): 60,
        ("vision/acme", "language=de"): 20,
        ("vision/acme", "language=en"): 40,
        ("vision/bolt", ALL): 60,
        ("vision/bolt", "language=de"): 20,
        ("vision/bolt", "language=en"): 40,
    }


def test_slices_by_all_that_is_derived(database: Database, tmp_path: Path) -> None:
    labels = ["images", "image_size", "prompt_length", "client"]
    lines = [litellm_line(i) for i in range(120)]
    measured(database, tmp_path, lines, slices={"labels": labels})
    assert {m.slice_key: m.n for m in whole_window(database) if m.slice_key != ALL} == {
        "images=1": 120,
        "image_size=small": 120,
        "prompt_length=short": 120,
        "client=OpenAI/Python": 60,
        "client=curl": 60,
    }


def test_a_late_target_finds_its_exchange_by_the_name_that_the_rule_gave(
    database: Database, tmp_path: Path
) -> None:
    lines = [litellm_line(i) for i in range(120)]
    targets = [
        late_target("call-1", stream="vision/acme").decode().strip(),
        late_target("call-2", stream="vision").decode().strip(),
    ]
    measured(database, tmp_path, [*lines, *targets], streams={"by": RULE})
    with database.read() as session:
        found = window_samples(session, "vision/acme", START, at(15))
    assert [s.exchange_id for s in found if s.z_target is not None] == ["call-1"]


def test_streams_of_a_rule_are_capped(database: Database, tmp_path: Path) -> None:
    lines = [
        exchange(f"e{i}", i / 10, labels={"user": f"u{i}"}).decode().strip() for i in range(40)
    ]
    rig = measured(
        database,
        tmp_path,
        lines,
        streams={"by": ["stream", "user"]},
        sampling={"max_streams": 5},
    )
    assert outcomes(rig.database)["over_stream_cap"] == 35
    assert outcomes(rig.database)["admitted"] == 5


def test_no_metric_has_more_slices_than_the_cap_and_one(database: Database, tmp_path: Path) -> None:
    lines = [
        exchange(f"e{i}", i / 20, labels={"user": f"u{i % 24}"}).decode().strip()
        for i in range(240)
    ]
    slices = {"labels": ["user", "language"], "max_per_label": 3}
    rig = measured(database, tmp_path, lines, slices=slices)
    rig.around.publisher.refresh()
    series: dict[str, set[str]] = {}
    for metric in measured_families(rig.around.publisher.latest().streams):
        for sample in metric.samples:
            if "slice" in sample.labels:
                series.setdefault(metric.name, set()).add(sample.labels["slice"])
    assert series
    assert max(map(len, series.values())) == 1 + (3 + 1) + 1
    assert {key for found in series.values() for key in found if "=" in key} >= {"user=other"}
