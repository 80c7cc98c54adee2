"""What exporters of OpenTelemetry send, and the answers they act on."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from monitor.store.counters import all_counts
from monitor.store.streams import known_streams
from monitor.traffic.formats.reading import Reading
from monitor.traffic.formats.streams import StreamRule
from monitor.traffic.formats.uploads import Uploads
from tests.integration.web.conftest import LIMIT, Serve, Site
from tests.unit.traffic.captured import FOLDER, LATEST, payload

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
JSON_UTF8 = "application/json; charset=utf-8"
SPAN = "otlp_genai_openai_span_only_traces.pb"


@pytest.fixture
def site(new_site: Serve) -> Site:
    site = new_site()
    site.rig.clock.now = LATEST
    return site


def post(
    site: Site, path: str, body: bytes | Iterator[bytes], kind: str = PROTOBUF, **headers: str
) -> httpx.Response:
    return site.client.post(path, content=body, headers={"Content-Type": kind, **headers})


def counted(site: Site) -> dict[str, int]:
    with site.rig.database.read() as session:
        return {outcome: n for _, _, outcome, n in all_counts(session)}


def with_uploads_in(folder: Path) -> bytes:
    """The captured export whose messages were uploaded, with the files in this folder."""
    export = ExportTraceServiceRequest.FromString(payload("otlp_genai_openai_upload_ref_traces.pb"))
    for attribute in export.resource_spans[0].scope_spans[0].spans[0].attributes:
        if attribute.key in {"gen_ai.input.messages_ref", "gen_ai.output.messages_ref"}:
            part = "inputs" if "input" in attribute.key else "outputs"
            file = folder / f"{part}.json"
            file.write_bytes((FOLDER / f"genai_upload_{part}.json").read_bytes())
            attribute.value.string_value = file.as_uri()
    return export.SerializeToString()


@pytest.mark.parametrize(("root", "count"), [("uploads", 1), ("elsewhere", 0)])
def test_uploaded_messages_are_read_below_the_roots_that_are_set(
    new_site: Serve, tmp_path: Path, root: str, count: int
) -> None:
    (tmp_path / "uploads").mkdir()
    site = new_site(reading=Reading(uploads=Uploads([tmp_path / root])))
    site.rig.clock.now = LATEST
    assert post(site, "/v1/traces", with_uploads_in(tmp_path / "uploads")).status_code == 200
    assert counted(site).get("admitted", 0) == count


def protobuf_error(answer: httpx.Response) -> str:
    """The message of a google.rpc.Status, which is its field 2."""
    assert answer.headers["content-type"] == PROTOBUF
    assert answer.content[:1] == b"\x12"
    return answer.content[2:].decode()


@pytest.mark.parametrize(
    ("path", "file", "kind", "admitted"),
    [
        ("/v1/traces", SPAN, PROTOBUF, 1),
        ("/v1/traces", "otlp_openinference_traces.pb", PROTOBUF, 1),
        ("/v1/traces", "otlp_openllmetry_inline_traces.pb", PROTOBUF, 1),
        ("/v1/traces", "otlp_litellm_otel_traces.pb", PROTOBUF, 1),
        ("/v1/logs", "otlp_genai_openai_span_and_event_logs.pb", PROTOBUF, 1),
        ("/v1/traces", "otlpjson_py_traces.json", JSON, 1),
        ("/v1/traces", "otlpjson_js_openinference_traces.json", JSON_UTF8, 1),
        ("/v1/logs", "otlpjson_py_logs_with_evaluation.json", JSON, 1),
    ],
)
@pytest.mark.parametrize("how", ["plain", "gzip", "chunked"])
def test_what_real_exporters_send_is_taken_and_answered_in_its_own_encoding(
    site: Site, path: str, file: str, kind: str, admitted: int, how: str
) -> None:
    body = payload(file)
    if how == "gzip":
        answer = post(site, path, gzip.compress(body), kind, **{"Content-Encoding": "gzip"})
    elif how == "chunked":
        answer = post(site, path, (body[i : i + 100] for i in range(0, len(body), 100)), kind)
    else:
        answer = post(site, path, body, kind)
    # Full success is the empty message.
    assert (answer.status_code, answer.content) == (200, b"" if kind == PROTOBUF else b"{}")
    assert answer.headers["content-type"] == kind.partition(";")[0]
    assert counted(site)["admitted"] == admitted


def test_a_compressed_export_as_langfuse_sent_it_is_taken(site: Site) -> None:
    body = (FOLDER / "otlp_langfuse_py_traces.pb.gz").read_bytes()
    answer = post(site, "/v1/traces", body, **{"Content-Encoding": "gzip"})
    assert answer.status_code == 200
    assert counted(site)["admitted"] == 1


def test_span_and_event_of_one_call_are_one_exchange_across_both_paths(site: Site) -> None:
    post(site, "/v1/traces", payload("otlp_genai_openai_span_and_event_traces.pb"))
    post(site, "/v1/logs", payload("otlp_genai_openai_span_and_event_logs.pb"))
    assert counted(site) == {"admitted": 1, "sampled": 1, "duplicate": 1}


def test_a_rule_names_the_streams_of_all_that_is_posted(new_site: Serve) -> None:
    rule = StreamRule(("deployment", "service"))
    site = new_site(limit=10_000_000, reading=Reading(streams=rule))
    site.rig.clock.now = LATEST
    post(site, "/v1/traces", payload("otlp_genai_openai_span_only_traces.pb"))
    batch = payload("litellm_sdk_generic_api_json_array.json")
    post(site, "/v1/litellm", batch, "application/json")
    with site.rig.database.read() as session:
        assert set(known_streams(session)) == {"gpt-4o-mini/vqa-app", "gpt-4o-mini/unknown"}


def test_an_export_sent_again_is_not_counted_again(site: Site) -> None:
    for _ in range(3):
        post(site, "/v1/traces", payload(SPAN))
    assert counted(site) == {"admitted": 1, "sampled": 1, "duplicate": 2}


def with_a_bad_span() -> ExportTraceServiceRequest:
    export = ExportTraceServiceRequest.FromString(payload(SPAN))
    spans = export.resource_spans[0].scope_spans[0].spans
    bad = spans.add()
    bad.CopyFrom(spans[0])
    bad.span_id = b"abcdefgh"
    bad.start_time_unix_nano = bad.end_time_unix_nano = 2**63  # in the year 2262
    return export


def test_a_bad_span_is_a_partial_success_and_the_others_are_taken(site: Site) -> None:
    answer = post(site, "/v1/traces", with_a_bad_span().SerializeToString())
    said = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (answer.status_code, said.rejected_spans) == (200, 1)
    assert said.error_message == "absurd_time: 1"
    assert counted(site)["admitted"] == 1


def test_a_bad_span_is_a_partial_success_in_json_too(site: Site) -> None:
    export = json.loads(payload("otlpjson_py_traces.json"))
    export["resourceSpans"][0]["scopeSpans"][0]["spans"].insert(0, {"attributes": "none"})
    answer = post(site, "/v1/traces", json.dumps(export).encode(), JSON)
    assert (answer.status_code, answer.json()) == (
        200,
        {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "wrong_type: 1"}},
    )
    assert counted(site)["admitted"] == 1


def test_a_bad_log_record_is_a_partial_success(site: Site) -> None:
    export = json.loads(payload("otlpjson_py_logs_with_evaluation.json"))
    export["resourceLogs"][0]["scopeLogs"][0]["logRecords"].append({"body": 1})
    answer = post(site, "/v1/logs", json.dumps(export).encode(), JSON)
    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"


def test_a_call_of_which_nobody_logged_the_content_is_no_fault_of_the_exporter(site: Site) -> None:
    answer = post(site, "/v1/traces", payload("otlp_genai_openai_upload_ref_traces.pb"))
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(("kind", "empty"), [(PROTOBUF, b""), (JSON, b"{}"), (JSON, b" {} \n")])
@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
def test_an_export_of_nothing_is_fine(site: Site, path: str, kind: str, empty: bytes) -> None:
    answer = post(site, path, empty, kind)
    assert answer.status_code == 200
    assert counted(site) == {}


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs"])
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"{broken", JSON, 400),
        (b'{"id": "x"}', JSON, 400),
        (b"[" * 10_000, JSON, 400),
        (b"x" * (LIMIT + 1), PROTOBUF, 413),
        (b"text", "text/plain", 415),
        (b"text", "", 415),
    ],
)
def test_only_a_body_that_is_no_export_is_refused_and_then_nothing_is_counted(
    site: Site, path: str, body: bytes, kind: str, status: int
) -> None:
    answer = post(site, path, body, kind)
    assert answer.status_code == status
    said = protobuf_error(answer) if kind == PROTOBUF else answer.json()["message"]
    assert said.startswith(("the body is", "Content-Type must be"))
    assert counted(site) == {}


def test_a_refused_export_may_be_mended_and_sent_again(site: Site) -> None:
    export = payload(SPAN)
    assert post(site, "/v1/traces", export + b"\xff").status_code == 400
    assert post(site, "/v1/traces", export).status_code == 200
    assert counted(site)["admitted"] == 1


def test_an_export_without_the_token_is_refused_as_a_status(new_site: Serve) -> None:
    site = new_site(tokens=(b"right",))
    answer = post(site, "/v1/traces", payload(SPAN))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "Bearer TOKEN" in protobuf_error(answer)
    assert post(site, "/v1/traces", b"", Authorization="Bearer right").status_code == 200


def test_answers_to_logs_are_those_of_logs(site: Site) -> None:
    body = payload("otlp_genai_openai_span_and_event_logs.pb")
    answer = post(site, "/v1/logs", body)
    assert ExportLogsServiceResponse.FromString(answer.content) == ExportLogsServiceResponse()
