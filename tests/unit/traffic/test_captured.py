"""What each payload captured from a real client is worth."""

import json
from pathlib import Path

import pytest

from monitor.records import ImageState, LateTarget
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.uploads import Uploads
from monitor.traffic.formats.wire import Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import (
    FOLDER,
    LATEST,
    exchanges,
    format_of,
    payload,
    read,
    reasons,
)

BESIDE = Path(__file__).parents[4] / "shared" / "traffic"
INLINE, URL, TRUNCATED = ImageState.INLINE, ImageState.URL, ImageState.TRUNCATED
FILE, REDACTED = ImageState.PROVIDER_FILE, ImageState.REDACTED
QUERY = "What is in this image?"
ANSWER = "The image shows a solid red square on a plain background."

# File -> the image states of each exchange, and the reasons of what is refused.
EXPECTED: dict[str, tuple[list[list[ImageState]], list[str]]] = {
    # A body alone has no id that its other half could be found by.
    "openai_chat_request.json": ([], ["lost_response"]),
    "openai_responses_request.json": ([], ["lost_response"]),
    "anthropic_messages_request.json": ([], ["lost_response"]),
    # Uploaded messages are read where telemetry refers to them, not by themselves.
    "genai_upload_inputs.json": ([], ["lost_response", "lost_response"]),
    "genai_upload_outputs.json": ([], ["lost_response"]),
    "litellm_sdk_generic_api_json_array.json": ([[TRUNCATED, URL], [TRUNCATED, URL]], []),
    "litellm_sdk_generic_api_single.json": ([[TRUNCATED, URL]], []),
    # A call, a streamed one, one that failed.
    "litellm_sdk_generic_api_ok_stream_fail.json": (
        [[TRUNCATED, URL], [TRUNCATED, URL]],
        ["failed_call"],
    ),
    "litellm_sdk_generic_api_anthropic_messages.json": ([[INLINE]], []),
    "litellm_sdk_generic_api_full_base64.json": ([[INLINE, URL], [INLINE, URL]], []),
    "litellm_sdk_generic_api_redacted.json": ([], ["redacted"]),
    # Its child span repeats the call as Python would print it, and is passed over.
    "otlp_litellm_otel_traces.pb": ([[INLINE, URL]], []),
    "otlp_genai_openai_span_only_traces.pb": ([[INLINE, URL]], []),
    "otlp_genai_openai_span_and_event_traces.pb": ([[INLINE, URL]], []),
    "otlp_genai_openai_span_and_event_logs.pb": ([[INLINE, URL]], []),
    "otlp_genai_openai_responses_traces.pb": ([[INLINE, FILE]], []),
    "otlp_genai_openai_responses_logs.pb": ([[INLINE, FILE]], []),
    # Nothing is read of what they refer to unless it lies below a known root.
    "otlp_genai_openai_upload_ref_traces.pb": ([], ["no_content"]),
    "otlp_genai_openai_upload_ref_logs.pb": ([], ["no_content"]),
    # Cut within the first image; the second is gone without a trace.
    "otlp_genai_openai_truncated_json_traces.pb": ([[TRUNCATED]], []),
    # The span has the model, the events have the messages; alone, the service is the stream.
    "otlp_openai_v2_legacy_traces.pb": ([], ["no_content"]),
    "otlp_openai_v2_legacy_logs.pb": ([[INLINE, URL]], []),
    # The parts of the user's message are empty.
    "otlp_openai_v2_latest_traces.pb": ([], ["lost_query"]),
    "otlp_openai_v2_latest_logs.pb": ([], ["lost_query"]),
    # An inline image made the instrumentation lose the input.
    "otlp_openllmetry_default_traces.pb": ([], ["lost_query"]),
    "otlp_openllmetry_stream_traces.pb": ([], ["lost_query"]),
    "otlp_openllmetry_inline_traces.pb": ([[INLINE, URL]], []),
    "otlp_openllmetry_responses_traces.pb": ([[INLINE, FILE]], []),
    "otlp_openinference_traces.pb": ([[INLINE, URL]], []),
    "otlp_openinference_big_redacted_traces.pb": ([[REDACTED, URL]], []),
    "otlp_openinference_128_attr_limit_traces.pb": ([[INLINE, URL]], []),
    "otlpjson_py_traces.json": ([[INLINE, URL]], []),
    "otlpjson_js_openinference_traces.json": ([[INLINE, URL]], []),
    # The result of an evaluation is a score, no target.
    "otlpjson_py_logs_with_evaluation.json": ([[INLINE, URL]], []),
    "otlp_file_traces_jsonl.ndjson": ([[INLINE, URL]], []),
    "otlp_file_logs_jsonl.ndjson": ([[INLINE, URL]], []),
    # The span of the application around the generation is passed over.
    "otlp_langfuse_py_traces.pb.gz": ([[ImageState.MARKER_ONLY, URL]], []),
    "langfuse_py_scores.json": ([], []),  # a target, for the store to find the call of
    # Of the upload of an image to Langfuse: nothing that a monitor is sent.
    "langfuse_py_media_create.json": ([], ["unknown_format"]),
    "langfuse_py_media_patch.json": ([], ["unknown_format"]),
    "langfuse_py_media_put.png": ([], ["broken_json"] * 4),
    "mlflow_trace.json": ([[ImageState.OBJECT_REF, URL]], []),
}


def test_every_captured_payload_is_in_the_table() -> None:
    index = json.loads((FOLDER / "INDEX.json").read_bytes())
    assert {entry["file"] for entry in index} == EXPECTED.keys()
    assert payloads(FOLDER) == EXPECTED.keys()


def test_nothing_that_was_captured_is_missing_here() -> None:
    if not BESIDE.exists():
        pytest.skip("no captured payloads lie beside the repository")
    captured = {name: (BESIDE / name).read_bytes() for name in payloads(BESIDE)}
    assert captured == {name: (FOLDER / name).read_bytes() for name in EXPECTED}


def payloads(folder: Path) -> set[str]:
    """All but the index and what a client sent around each of them."""
    names = {path.name for path in folder.iterdir()} - {"INDEX.json"}
    return {name for name in names if not name.endswith(".request.json")}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_captured_payload_gives_its_exchanges_and_refusals(name: str) -> None:
    records = read(name)
    found = [[image.state for image in exchange.images] for exchange in exchanges(records)]
    assert (found, reasons(records)) == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name, (found, _) in EXPECTED.items() if found])
def test_every_captured_exchange_has_the_words_of_the_call(name: str) -> None:
    found = exchanges(read(name))
    assert {e.text for e in found} <= {QUERY, "Describe."}
    assert {e.response for e in found} <= {
        ANSWER,
        "The image shows a solid red square.",
        "Second answer.",
    }
    assert {e.time.year for e in found} == {2026}
    assert all(e.stream for e in found)


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("litellm_sdk_generic_api_ok_stream_fail.json", "gpt-4o-mini"),
        ("otlp_genai_openai_span_only_traces.pb", "gpt-4o-mini-2024-07-18"),
        ("otlp_openinference_traces.pb", "gpt-4o-mini-2024-07-18"),
        ("otlp_langfuse_py_traces.pb.gz", "gpt-4o-mini-2024-07-18"),
        ("mlflow_trace.json", "gpt-4o-mini-2024-07-18"),
        ("otlp_openai_v2_legacy_logs.pb", "vqa-app"),
    ],
)
def test_the_model_or_its_route_is_the_stream(name: str, stream: str) -> None:
    assert {e.stream for e in exchanges(read(name))} == {stream}


@pytest.mark.parametrize("name", ["otlp_langfuse_py_traces.pb.gz", "mlflow_trace.json"])
def test_a_reference_answer_beside_the_call_is_its_target(name: str) -> None:
    assert [e.target for e in exchanges(read(name))] == ["a red square"]


def test_turns_before_the_query_are_counted_even_where_a_limit_dropped_them() -> None:
    (found,) = exchanges(read("otlp_openinference_128_attr_limit_traces.pb"))
    assert found.labels["context_turns"] == "81"


@pytest.mark.parametrize(
    "names",
    [
        (
            "otlp_genai_openai_span_and_event_traces.pb",
            "otlp_genai_openai_span_and_event_logs.pb",
        ),
        ("otlp_genai_openai_responses_logs.pb", "otlp_genai_openai_responses_traces.pb"),
        ("otlp_file_traces_jsonl.ndjson", "otlp_file_logs_jsonl.ndjson"),
        ("otlpjson_py_traces.json", "otlp_file_traces_jsonl.ndjson", "otlp_file_logs_jsonl.ndjson"),
        ("mlflow_trace.json", "mlflow_trace.json"),
        ("litellm_sdk_generic_api_single.json", "litellm_sdk_generic_api_single.json"),
    ],
)
def test_a_call_that_arrives_several_times_is_one_exchange(names: tuple[str, ...]) -> None:
    joiner = Joiner()
    (found,) = exchanges(read(*names, joiner=joiner))
    assert (joiner.duplicates, joiner.orphans) == (len(names) - 1, {})
    assert found == exchanges(read(names[0]))[0]


@pytest.mark.parametrize(
    "names",
    [
        ("otlp_openai_v2_legacy_traces.pb", "otlp_openai_v2_legacy_logs.pb"),
        ("otlp_openai_v2_legacy_logs.pb", "otlp_openai_v2_legacy_traces.pb"),
    ],
)
def test_messages_in_events_and_the_model_in_a_span_are_one_exchange(
    names: tuple[str, ...],
) -> None:
    joiner = Joiner()
    (found,) = exchanges(read(*names, joiner=joiner))
    assert (found.stream, found.text, found.response) == ("gpt-4o-mini-2024-07-18", QUERY, ANSWER)
    assert not joiner.orphans


def test_uploaded_messages_are_read_below_a_known_root(tmp_path: Path) -> None:
    for part in ("inputs", "outputs"):
        body = (FOLDER / f"genai_upload_{part}.json").read_bytes()
        (tmp_path / f"fcebe2a9-44ed-4dbd-b1e7-7759b827d031_{part}.json").write_bytes(body)
    (found,) = exchanges(read("otlp_genai_openai_upload_ref_traces.pb", uploads=Moved(tmp_path)))
    assert (found.text, found.response) == (QUERY, ANSWER)
    assert [image.state for image in found.images] == [INLINE, URL]


def test_a_score_that_corrects_is_the_target_of_the_call_it_names() -> None:
    joiner = Joiner()
    body = payload("otlp_langfuse_py_traces.pb.gz")
    form = format_of("otlp_langfuse_py_traces.pb.gz", joiner)
    (call,) = form.parse(body, LATEST)
    assert isinstance(call, Wire)
    trace, _, observation = call.id.partition(":")
    at = {"traceId": trace, "timestamp": "2026-11-21T22:11:48Z"}
    scores = [
        at | {"name": "expected_output", "value": "red"},  # of the trace, which has one call
        at | {"name": "output", "value": "a red square", "observationId": observation},
        at | {"name": "correctness", "value": 1.0},
    ]
    labels = format_named("auto", joiner=joiner).parse(json.dumps(scores).encode(), LATEST)
    assert labels == [
        LateTarget(call.id, call.stream, "red"),
        LateTarget(call.id, call.stream, "a red square"),
    ]


class Moved(Uploads):
    """The folder that the captured references name, somewhere else."""

    def __init__(self, root: Path) -> None:
        super().__init__([root])
        self._to = root

    def read(self, ref: str) -> str | None:
        return super().read(ref.replace("/srv/uploads", str(self._to)))
