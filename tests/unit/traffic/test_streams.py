"""What streams are called by a rule, in every format."""

import json
from collections.abc import Mapping, Sequence

import pytest

from monitor.errors import SettingsError
from monitor.records import Exchange, LateTarget
from monitor.settings import load_settings
from monitor.traffic.formats.call import client_name
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.streams import BY_FORMAT, MAX_STREAM_CHARS, StreamRule
from monitor.traffic.formats.wire import Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic import captured
from tests.unit.traffic.captured import LATEST
from tests.unit.traffic.test_captured import EXPECTED

MODEL, DATED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18"
GENAI = "opentelemetry.instrumentation.genai.openai"
LLMETRY = "opentelemetry.instrumentation.openai.v1"
INFERENCE = "openinference.instrumentation.openai"

# File -> the stream by model, deployment and service, and the client.
NAMED: dict[str, tuple[str, str | None]] = {
    "litellm_sdk_generic_api_json_array.json": (f"{MODEL}/{MODEL}/unknown", None),
    "litellm_sdk_generic_api_single.json": (f"{MODEL}/{MODEL}/unknown", None),
    "litellm_sdk_generic_api_ok_stream_fail.json": (f"{MODEL}/{MODEL}/unknown", None),
    "litellm_sdk_generic_api_anthropic_messages.json": (
        "claude-sonnet-4-5/claude-sonnet-4-5/unknown",
        None,
    ),
    "litellm_sdk_generic_api_full_base64.json": (f"{MODEL}/{MODEL}/unknown", None),
    "otlp_litellm_otel_traces.pb": (f"{DATED}/{MODEL}/litellm", "litellm"),
    "otlp_genai_openai_span_only_traces.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_genai_openai_span_and_event_traces.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_genai_openai_span_and_event_logs.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_genai_openai_responses_traces.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_genai_openai_responses_logs.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_genai_openai_truncated_json_traces.pb": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    # No record names the model: the service stands in for it.
    "otlp_openai_v2_legacy_logs.pb": (
        "vqa-app/vqa-app/vqa-app",
        "opentelemetry.instrumentation.openai_v2",
    ),
    "otlp_openllmetry_inline_traces.pb": (f"{DATED}/{MODEL}/unknown", LLMETRY),
    "otlp_openllmetry_responses_traces.pb": (f"{DATED}/{MODEL}/vqa-app", LLMETRY),
    "otlp_openinference_traces.pb": (f"{DATED}/{MODEL}/vqa-app", INFERENCE),
    "otlp_openinference_big_redacted_traces.pb": (f"{DATED}/{MODEL}/vqa-app", INFERENCE),
    # The limit on attributes took what was asked for with it.
    "otlp_openinference_128_attr_limit_traces.pb": (f"{DATED}/{DATED}/unknown", INFERENCE),
    "otlpjson_py_traces.json": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlpjson_js_openinference_traces.json": (
        f"{DATED}/{MODEL}/vqa-js",
        "@arizeai/openinference-instrumentation-openai",
    ),
    "otlpjson_py_logs_with_evaluation.json": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_file_traces_jsonl.ndjson": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_file_logs_jsonl.ndjson": (f"{DATED}/{MODEL}/vqa-app", GENAI),
    "otlp_langfuse_py_traces.pb.gz": (f"{DATED}/{DATED}/unknown", "langfuse-sdk"),
    "mlflow_trace.json": (f"{DATED}/{MODEL}/unknown", None),
}


def read(line: Mapping[str, object] | Sequence[object], *by: str) -> list[object]:
    form = format_named("auto", Reading(streams=StreamRule(by)))
    return [*form.parse(json.dumps(line).encode(), LATEST), *form.finish()]


def exchange(line: Mapping[str, object] | Sequence[object], *by: str) -> Exchange:
    (found,) = [record.exchange() for record in read(line, *by) if isinstance(record, Wire)]
    return found


def test_every_captured_payload_with_an_exchange_has_a_name() -> None:
    assert {name for name, (found, _) in EXPECTED.items() if found} == NAMED.keys()


@pytest.mark.parametrize("name", NAMED)
def test_a_rule_names_the_streams_of_every_captured_payload(name: str) -> None:
    joiner = Joiner(rule=StreamRule(("model", "deployment", "service")))
    found = captured.exchanges(captured.read(name, joiner=joiner))
    assert {(e.stream, e.labels.get("client")) for e in found} == {NAMED[name]}


NATIVE = {
    "id": "1",
    "time": "2026-03-01T12:00:00Z",
    "stream": "llava",
    "query": {"text": "Why?"},
    "response": "So.",
}
BODIES = {
    "id": "1",
    "time": "2026-03-01T12:00:00Z",
    "request": {
        "model": "vision",
        "metadata": {"tenant": "acme"},
        "messages": [{"role": "user", "content": "Why?"}],
    },
    "response": {"id": "r", "model": "vision-2", "choices": [{"message": {"content": "So."}}]},
}
LITELLM = {
    "litellm_call_id": "1",
    "call_type": "acompletion",
    "status": "success",
    "endTime": 1772366400.0,
    "model": "azure/vision-2",
    "model_group": "vision",
    "end_user": "u1",
    "user_agent": "OpenAI/Python 1.99.1",
    "messages": [{"role": "user", "content": "Why?"}],
    "response": {"id": "r", "choices": [{"message": {"content": "So."}}]},
    "metadata": {
        "user_api_key_team_alias": "blue",
        "requester_metadata": {"tenant": "acme"},
        "spend_logs_metadata": {"tenant": "other", "region": "eu"},
    },
}
LANGFUSE = {
    "batch": [
        {
            "type": "generation-create",
            "timestamp": "2026-03-01T12:00:00Z",
            "body": {
                "id": "g",
                "model": "vision-2",
                "input": "Why?",
                "output": "So.",
                "metadata": {"tenant": "acme", "plan": {"tier": 2}},
            },
        }
    ],
    "metadata": {"sdk_name": "langfuse-js"},
}
KSERVE = [
    {
        "specversion": "1.0",
        "id": "1",
        "type": f"org.kubeflow.serving.inference.{kind}",
        "time": "2026-03-01T12:00:00Z",
        "inferenceservicename": "vision",
        "tenant": "acme",
        "data": data,
    }
    for kind, data in (("request", BODIES["request"]), ("response", BODIES["response"]))
]
LLAVA = NATIVE | {"labels": {"tenant": "acme", "beta": True}, "region": "eu", "model": "llava-2"}


@pytest.mark.parametrize(
    ("line", "by", "stream"),
    [
        (LLAVA, (), "llava"),
        (LLAVA, ("stream", "tenant"), "llava/acme"),
        (LLAVA, ("model", "region", "beta"), "llava-2/eu/true"),
        (LLAVA, ("deployment", "customer"), "llava/unknown"),
        (BODIES, (), "vision-2"),
        (BODIES, ("deployment", "model", "tenant"), "vision/vision-2/acme"),
        (BODIES | {"stream": "chat"}, ("stream", "model"), "chat/vision-2"),
        (LITELLM, (), "vision"),
        (LITELLM, ("deployment", "model"), "vision/azure/vision-2"),
        (LITELLM, ("tenant", "region", "end_user"), "acme/eu/u1"),
        (LITELLM, ("metadata.user_api_key_team_alias",), "blue"),
        (LITELLM, ("user_api_key_team_alias", "provider"), "blue/unknown"),
        (LANGFUSE, ("model", "tenant", "plan.tier"), "vision-2/acme/2"),
        (LANGFUSE, ("plan",), "unknown"),  # several values are no name
        (KSERVE, (), "vision"),
        (KSERVE, ("deployment", "model", "tenant"), "vision/vision-2/acme"),
    ],
)
def test_a_stream_is_called_by_what_its_records_carry(
    line: dict[str, object], by: tuple[str, ...], stream: str
) -> None:
    assert exchange(line, *by).stream == stream


def test_attributes_metadata_and_what_sent_it_name_streams_of_telemetry() -> None:
    attributes = {
        "gen_ai.request.model": "vision",
        "gen_ai.input.messages": json.dumps([{"role": "user", "content": "Why?"}]),
        "gen_ai.output.messages": json.dumps([{"role": "assistant", "content": "So."}]),
        "app.tenant": "acme",
        "metadata": json.dumps({"plan": "gold"}),
        "langfuse.trace.metadata.team": '"blue"',
        "traceloop.association.properties.chat": "c1",
    }
    span = {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "chat",
        "startTimeUnixNano": "1772366400000000000",
        "endTimeUnixNano": "1772366400000000000",
        "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in attributes.items()],
    }
    region = {"attributes": [{"key": "cloud.region", "value": {"stringValue": "eu"}}]}
    export = {"resourceSpans": [{"resource": region, "scopeSpans": [{"spans": [span]}]}]}
    found = exchange(export, "app.tenant", "plan", "team", "chat", "cloud.region", "app.none")
    assert found.stream == "acme/gold/blue/c1/eu/unknown"


def test_the_halves_of_a_call_name_its_stream_together() -> None:
    request, response = KSERVE
    lines = [{**request, "tenant": "acme"}, {k: v for k, v in response.items() if k != "tenant"}]
    assert exchange(lines, "model", "tenant").stream == "vision-2/acme"


def test_without_a_model_a_stream_may_be_called_by_its_tenant_alone() -> None:
    lines = [{**half, "inferenceservicename": None} for half in KSERVE]
    lines[1]["data"] = {"choices": [{"message": {"content": "So."}}]}
    assert exchange(lines, "tenant").stream == "acme"
    assert not [r for r in read(lines, "tenant", "model") if isinstance(r, Wire)]


def test_a_target_names_the_stream_as_the_rule_does() -> None:
    (target,) = read({"id": "1", "stream": "llava/acme", "target": "So."}, "stream", "tenant")
    assert target == LateTarget("1", "llava/acme", "So.")


def test_a_long_part_leaves_room_for_the_others() -> None:
    rule = StreamRule(("stream", "tenant", "region"))
    name = rule.name("m" * 300, {"tenant": "t" * 300, "region": "r\0"})
    assert len(name) <= MAX_STREAM_CHARS
    assert (name.count("m"), name.count("t"), name[-2:]) == (66, 66, "r\ufffd")


def test_what_a_rule_took_from_a_record_is_kept_without_the_record() -> None:
    joiner = Joiner(rule=StreamRule(("tenant",)))
    form = format_named("kserve", Reading(streams=StreamRule(("tenant",))), joiner=joiner)
    form.parse(json.dumps(KSERVE[0] | {"tenant": "t" * 10_000}).encode(), LATEST)
    (entry,) = joiner._queue
    assert entry.waiting is not None
    assert entry.waiting.parts == {"tenant": "t" * MAX_STREAM_CHARS}
    assert entry.waiting.lookup("tenant") is None


def test_without_a_rule_nothing_is_looked_up() -> None:
    assert BY_FORMAT.parts(pytest.fail, {}, {}) == {}


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        ("OpenAI/Python 1.99.1", "OpenAI/Python"),
        ("python-httpx/0.28.1", "python-httpx"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "Mozilla"),
        ("okhttp3 (internal)", "okhttp3"),
        (LLMETRY, LLMETRY),
        ("x" * 500, "x" * 64),
        ("", None),
        (None, None),
    ],
)
def test_a_client_is_named_without_its_version(agent: str | None, name: str | None) -> None:
    assert client_name(agent) == name


@pytest.mark.parametrize(
    ("line", "client"), [(LITELLM, "OpenAI/Python"), (LANGFUSE, "langfuse-js")]
)
def test_the_client_is_a_label_where_the_record_carries_it(
    line: dict[str, object], client: str
) -> None:
    assert exchange(line).labels["client"] == client


def test_a_client_that_the_caller_names_wins() -> None:
    line = BODIES | {"user_agent": "curl/8.5", "labels": {"client": "kiosk"}}
    assert exchange(line).labels["client"] == "kiosk"


def test_a_rule_has_few_parts_and_none_that_is_empty() -> None:
    for by in ("['']", "[a, b, c, d, e, f, g, h, i]"):
        with pytest.raises(SettingsError):
            load_settings(None, {"MLLM_MONITOR_STREAMS__BY": by})
