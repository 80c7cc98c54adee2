"""LiteLLM begins to cut images out of its payloads: that is logging, and nothing else moves."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitor.records import Exchange, Measurement, Signal, Verdict, WindowId
from monitor.service.verdict import in_words
from monitor.simulate.traffic import Drift, DriftKind, Mix, simulate
from tests.acceptance.program import Program, Result

pytestmark = pytest.mark.acceptance

START = datetime(2026, 3, 1, tzinfo=UTC)
CHANGE = START + timedelta(minutes=20)
SETTINGS: Mapping[str, object] = {
    "windows": {"pane": "10m", "length": "20m", "slide": "20m", "lateness": "1m"},
    "sampling": {"per_pane": 100},
}
MIX = Mix(per_minute=10, text_only_share=0.2)  # 200 exchanges a window
Url = Callable[[int, Exchange], str]


def payload(exchange: Exchange, stream: str, url: str | None) -> bytes:
    """One ``StandardLoggingPayload`` with the keys that captured ones have."""
    content: list[dict[str, object]] = [{"type": "text", "text": exchange.text}]
    if url is not None:
        content.append({"type": "image_url", "image_url": {"url": url}})
    answer = {"role": "assistant", "content": exchange.response}
    record = {
        "id": f"chatcmpl-{exchange.id}",
        "litellm_call_id": f"{stream}-{exchange.id}",
        "call_type": "acompletion",
        "status": "success",
        "startTime": exchange.time.timestamp() - 1,
        "endTime": exchange.time.timestamp(),
        "model": stream,
        "metadata": {"requester_metadata": {"expected_output": exchange.target}},
        "messages": [{"role": "user", "content": content}],
        "response": {"model": stream, "choices": [{"index": 0, "message": answer}]},
    }
    return json.dumps(record).encode() + b"\n"


def inline(_number: int, exchange: Exchange) -> str:
    data = exchange.images[0].data or b""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def truncated(every: int) -> Url:
    """As LiteLLM writes it, from one moment on, for every so many exchanges."""

    def url(number: int, exchange: Exchange) -> str:
        whole = inline(number, exchange)
        if exchange.time < CHANGE or number % every:
            return whole
        return f"data:image/png;base64,[base64_data truncated: {len(whole) / 1024:.1f}KB]"

    return url


STREAMS: Mapping[str, tuple[Url, tuple[Drift, ...]]] = {
    "calm": (inline, ()),
    "all": (truncated(1), ()),
    "half": (truncated(2), ()),
    "blurred": (inline, (Drift(DriftKind.BLUR, severity=5, start=CHANGE),)),
}


def payloads(seed: int, count: int, stream: str) -> Iterable[bytes]:
    url, drifts = STREAMS.get(stream, STREAMS["calm"])
    traffic = simulate(seed, start=START, count=count, drifts=drifts, mix=MIX)
    for number, exchange in enumerate(traffic):
        yield payload(exchange, stream, url(number, exchange) if exchange.images else None)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    program = Program(tmp_path_factory.mktemp("logging"), SETTINGS)
    (program.folder / "normal.jsonl").write_bytes(b"".join(payloads(1, 700, "normal")))
    program.done("reference", "build", "normal.jsonl")
    lines = [line for name in STREAMS for line in payloads(2, 400, name)]
    (program.folder / "log.jsonl").write_bytes(b"".join(lines))
    return program.done("replay", "--json", "log.jsonl")


def after_the_change(result: Result, stream: str) -> dict[str, dict[str, Any]]:
    moment = CHANGE.isoformat().replace("+00:00", "Z")
    return {
        m["signal"]: m
        for m in result.json_lines()
        if m["stream"] == stream and m["window_start"] == moment and m["slice"] == "all"
    }


def drifting(result: Result, stream: str) -> set[str]:
    found = after_the_change(result, stream)
    assert found.keys() == set(Signal)
    return {signal for signal, m in found.items() if m["verdict"] == Verdict.DRIFTING}


@pytest.mark.parametrize("stream", ["all", "half"])
def test_truncated_images_are_changed_logging_and_nothing_else_drifts(
    result: Result, stream: str
) -> None:
    assert drifting(result, stream) == {"image_logging"}


def test_before_it_nothing_drifts(result: Result) -> None:
    early = [m for m in result.json_lines() if m["window_start"] < CHANGE.isoformat()]
    assert {m["stream"] for m in early} == STREAMS.keys()
    assert [m for m in early if m["verdict"] == Verdict.DRIFTING] == []


def test_blurred_images_are_drift_and_no_changed_logging(result: Result) -> None:
    found = drifting(result, "blurred")
    assert "visual_discrepancy" in found
    assert "image_logging" not in found


def test_traffic_that_stays_the_same_stays_calm(result: Result) -> None:
    assert drifting(result, "calm") == set()


def test_as_many_exchanges_come_with_an_image_as_before(result: Result) -> None:
    shares = [after_the_change(result, s)["image_share"]["value"] for s in ("calm", "all", "half")]
    assert shares[0] == shares[1] == shares[2]


def test_what_cannot_be_compared_says_why(result: Result) -> None:
    found = after_the_change(result, "all")
    assert found["visual_discrepancy"]["reason"].startswith("image_logging_changed: 0 of ")
    assert found["emi"]["reason"].startswith("image_logging_changed: 0 of ")
    assert found["textual_discrepancy"]["verdict"] == Verdict.IN_CONTROL


def test_the_words_are_that_logging_changed(result: Result) -> None:
    said = in_words([_measurement(m) for m in after_the_change(result, "all").values()])
    assert said[0].startswith("Logging changed: 100 % of the images")
    assert "truncated" in said[0]
    assert said[1].startswith("Has the traffic changed? Not noticeably")
    assert "Yes" not in " ".join(said)


def _measurement(m: Mapping[str, Any]) -> Measurement:
    return Measurement(
        stream=m["stream"],
        slice_key=m["slice"],
        signal=Signal(m["signal"]),
        window=WindowId(CHANGE, CHANGE),
        n=m["n"],
        verdict=Verdict(m["verdict"]),
        reference=m["reference"],
        **{k: m[k] for k in ("value", "stderr", "null_mean", "threshold", "excess_ratio")},
        reason=m.get("reason"),
        terms=tuple(m.get("terms", ())),
    )
