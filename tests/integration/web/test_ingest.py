import gzip
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog
from sqlalchemy.exc import OperationalError

from monitor.errors import StoreError
from monitor.service.intake import Receipt
from monitor.store.counters import all_counts
from monitor.web import bodies, ingest
from monitor.web.ingest import MAX_CONCURRENT
from tests.integration.service.parts import exchange, late_target
from tests.integration.web.conftest import LIMIT, Serve, Site

PATIENCE = 30
LINES = [exchange("a"), exchange("b", 1)]
GZIP = {"Content-Encoding": "gzip"}


def as_array(lines: list[bytes]) -> bytes:
    return b" [" + b",\n".join(line.strip() for line in lines) + b"]\n"


def outcomes(answer: httpx.Response) -> dict[str, int]:
    assert answer.status_code == 200, answer.text
    found: dict[str, int] = answer.json()["outcomes"]
    return found


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"".join(LINES), {}, id="lines"),
        pytest.param(b"".join(LINES).strip(), {}, id="no last line end"),
        pytest.param(b"\n\n".join(LINES) + b"\r\n", {}, id="blank lines"),
        pytest.param(as_array(LINES), {}, id="array"),
        pytest.param(gzip.compress(b"".join(LINES)), GZIP, id="gzip"),
        pytest.param(gzip.compress(as_array(LINES)), GZIP, id="gzip array"),
        pytest.param(gzip.compress(b"".join(LINES)) + bytes(9), GZIP, id="padded gzip"),
        pytest.param(
            gzip.compress(LINES[0]) + gzip.compress(LINES[1]), GZIP, id="two gzip members"
        ),
    ],
)
def test_exchanges_are_taken_in_every_form(
    site: Site, body: bytes, headers: dict[str, str]
) -> None:
    answer = site.client.post("/v1/exchanges", content=body, headers=headers)
    assert answer.json() == {"accepted": 2, "outcomes": {"admitted": 2, "sampled": 2}}


def test_accepted_means_that_it_is_in_the_database(site: Site) -> None:
    site.client.post("/v1/exchanges", content=b"".join(LINES))
    with site.rig.database.read() as session:
        counts = {outcome: n for _, _, outcome, n in all_counts(session)}
    assert counts == {"admitted": 2, "sampled": 2}


def test_counts_name_the_path_that_was_posted_to(site: Site) -> None:
    site.client.post("/v1/exchanges", content=LINES[0])
    site.client.post("/v1/targets", content=late_target("a"))
    with site.rig.database.read() as session:
        sources = {(source, outcome) for source, _, outcome, _ in all_counts(session)}
    assert sources == {
        ("/v1/exchanges", "admitted"),
        ("/v1/exchanges", "sampled"),
        ("/v1/targets", "target"),
    }


def test_a_late_target_is_known_by_the_times_of_the_exchanges(site: Site) -> None:
    site.client.post("/v1/exchanges", content=LINES[0] + exchange("new", 60))
    answer = site.client.post("/v1/targets", content=late_target("a"))
    assert outcomes(answer) == {"target_late": 1}


def test_bad_records_among_good_ones_are_counted_by_reason_and_the_good_ones_taken(
    site: Site,
) -> None:
    body = b"".join([LINES[0], b"{broken\n", b'"text"\n', LINES[1], b'{"id": 1}\n'])
    answer = site.client.post("/v1/exchanges", content=body)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    assert outcomes(answer) == {
        "admitted": 2,
        "sampled": 2,
        "broken_json": 1,
        "not_an_object": 1,
        "unknown_format": 1,
    }


def test_bad_records_in_an_array_do_not_refuse_it(site: Site) -> None:
    answer = site.client.post("/v1/exchanges", content=as_array([LINES[0], b"3", b"null"]))
    assert outcomes(answer)["admitted"] == 1
    assert outcomes(answer)["not_an_object"] == 2


def test_one_exchange_may_be_written_over_several_lines(site: Site) -> None:
    body = json.dumps(json.loads(LINES[0]), indent=2).encode()
    answer = site.client.post("/v1/exchanges", content=body)
    assert answer.json() == {"accepted": 1, "outcomes": {"admitted": 1, "sampled": 1}}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        pytest.param(b'{"id": NaN}', "broken_json", id="what Python writes for no number"),
        pytest.param(b'{"id": "\xff"}', "unknown_format", id="no UTF-8 in what nobody reads"),
        pytest.param(b'{"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "too_deep", id="depth"),
        pytest.param(b'{"id": "] , [ \\" }", "x": Infinity}', "broken_json", id="brackets in text"),
    ],
)
def test_an_element_that_is_no_json_costs_only_itself(site: Site, bad: bytes, reason: str) -> None:
    body = as_array([LINES[0], bad, LINES[1]])
    answer = site.client.post("/v1/exchanges", content=body)
    assert outcomes(answer) == {"admitted": 2, "sampled": 2, reason: 1}


def test_half_an_emoji_refuses_no_array(site: Site) -> None:
    line = exchange("c", response="half: \ud83d")
    answer = site.client.post("/v1/exchanges", content=as_array([LINES[0], line]))
    assert outcomes(answer) == {"admitted": 2, "sampled": 2}


@pytest.mark.parametrize("body", [b"", b"\n \n", b"[]"])
def test_nothing_is_fine(site: Site, body: bytes) -> None:
    answer = site.client.post("/v1/exchanges", content=body)
    assert (answer.status_code, answer.json()) == (200, {"accepted": 0, "outcomes": {}})


def test_nothing_of_a_record_comes_back(site: Site) -> None:
    body = json.dumps({"id": "x", "query": {"text": "patient zero"}}).encode() + b"\n{patient zero"
    answer = site.client.post("/v1/exchanges", content=body)
    assert "patient" not in answer.text


# --- what is refused as a whole


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"[1, 2", {}, 400, id="array that ends early"),
        pytest.param(b"[" * 100_000, {}, 400, id="array without a bottom"),
        pytest.param(b'["\xff\xfe"', {}, 400, id="array that is no text"),
        pytest.param(b"no gzip", GZIP, 400, id="no gzip"),
        pytest.param(b"", GZIP, 400, id="empty gzip"),
        pytest.param(gzip.compress(b"".join(LINES))[:-4], GZIP, 400, id="gzip cut short"),
        pytest.param(gzip.compress(LINES[0]) + b"rubbish", GZIP, 400, id="rubbish after the gzip"),
        pytest.param(b"x" * (LIMIT + 1), {}, 413, id="too large"),
        pytest.param(gzip.compress(b"x" * 50_000_000), GZIP, 413, id="gzip bomb"),
        pytest.param(b"x", {"Content-Encoding": "br"}, 415, id="other encoding"),
        pytest.param(b"\n" * 50_001, {}, 413, id="too many lines"),
        pytest.param(b"[" + b"1," * 49_999 + b"1,1]", {}, 413, id="too many elements"),
        pytest.param(b"[" + b"1," * 49_999 + b"NaN,1]", {}, 413, id="too many and no JSON"),
        pytest.param(b"[{}] {}", {}, 400, id="something after the array"),
        pytest.param(b'["' + b'\\"' * 40_000, {}, 400, id="a text without an end"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_whole_with_one_sentence(
    site: Site, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = site.client.post("/v1/exchanges", content=body, headers=headers)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    with site.rig.database.read() as session:
        assert all_counts(session) == []


def test_a_body_of_just_the_limit_is_taken(site: Site) -> None:
    body = LINES[0].rstrip() + b" " * LIMIT
    answer = site.client.post("/v1/exchanges", content=body[:LIMIT])
    assert answer.json()["accepted"] == 1


def test_a_body_sent_in_chunks_is_bounded_too(site: Site) -> None:
    answer = site.client.post("/v1/exchanges", content=(b"x" * 1000 for _ in range(101)))
    assert answer.status_code == 413


# --- tokens


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (None, 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
        ("Basic first", 401),
        ("first", 401),
        ("Bearer first\xe9", 401),
        ("Bearer firstsecond", 401),
        ("Bearer first", 200),
        ("bearer second", 200),
    ],
)
def test_with_tokens_only_a_right_one_may_post(
    new_site: Serve, header: str | None, status: int
) -> None:
    site = new_site(tokens=(b"first", b"second"))
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = site.client.post("/v1/exchanges", content=LINES[0], headers=headers)
    assert answer.status_code == status
    assert answer.headers.get("www-authenticate") == ("Bearer" if status == 401 else None)


def test_tokens_are_needed_to_post_and_for_nothing_else(new_site: Serve) -> None:
    site = new_site(tokens=(b"first",))
    paths = ["/", "/metrics", "/healthz", "/readyz", "/api/v1/streams", "/api/v1/measurements"]
    assert {site.client.get(path).status_code for path in paths} == {200}
    assert site.client.post("/v1/targets", content=b"").status_code == 401


def test_tokens_of_the_file_change_without_a_restart(new_site: Serve, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("old\n")
    site = new_site(tokens_file=file, tokens=(b"given",))

    def accepted() -> set[str]:
        return {
            token
            for token in ("old", "new", "given")
            if site.client.post(
                "/v1/targets", content=b"", headers={"Authorization": f"Bearer {token}"}
            ).is_success
        }

    assert accepted() == {"old", "given"}
    file.write_text("old\nnew\n")
    assert accepted() == {"old", "new", "given"}
    file.write_text("newest\nnew\n")
    assert accepted() == {"new", "given"}
    file.write_text("")  # somebody is at it
    assert accepted() == {"new", "given"}
    file.unlink()
    assert accepted() == {"new", "given"}


# --- too much at once, and failures behind it


@contextmanager
def all_busy(site: Site) -> Iterator[None]:
    """As many requests as are let in at once, held until this is left."""
    entered, may_go = threading.Semaphore(0), threading.Event()

    def slow(path: str, lines: Sequence[bytes]) -> Receipt:
        entered.release()
        may_go.wait(PATIENCE)
        return Receipt({})

    site.admitted = slow
    with ThreadPoolExecutor(MAX_CONCURRENT) as threads:
        posts = [threads.submit(post, site) for _ in range(MAX_CONCURRENT)]
        assert all(entered.acquire(timeout=PATIENCE) for _ in posts)
        yield
        may_go.set()
    assert {each.result().status_code for each in posts} == {200}


def post(site: Site) -> httpx.Response:
    return site.client.post("/v1/exchanges", content=LINES[0])


def test_of_too_many_requests_at_once_one_is_told_to_come_again(new_site: Serve) -> None:
    site = new_site(max_waiting=0)
    with all_busy(site):
        answer = post(site)
    # Not 429, for which LiteLLM does not send again.
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert list(answer.json()) == ["error"]
    assert post(site).status_code == 200


def test_a_request_waits_for_its_turn_as_not_every_client_sends_again(site: Site) -> None:
    with ThreadPoolExecutor(1) as thread:
        with all_busy(site):
            further = thread.submit(post, site)
            assert site.client.get("/healthz").status_code == 200
            assert not further.done()
        assert further.result().status_code == 200


def test_a_request_that_waited_too_long_is_told_to_come_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "PATIENCE_SECONDS", 0)
    with all_busy(site):
        assert post(site).status_code == 503
    assert post(site).status_code == 200


def test_more_requests_than_the_rate_are_told_to_come_again_before_their_token_is_looked_at(
    new_site: Serve,
) -> None:
    site = new_site(per_second=1, tokens=(b"right",))
    answers = [post(site) for _ in range(20)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_a_body_that_does_not_come_is_not_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0)
    with socket.create_connection((site.client.base_url.host, site.client.base_url.port)) as raw:
        raw.settimeout(PATIENCE)
        raw.sendall(b"POST /v1/exchanges HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{")
        assert raw.recv(12) == b"HTTP/1.1 408"


def test_a_request_that_failed_gives_its_place_back(site: Site) -> None:
    for _ in range(2 * MAX_CONCURRENT):
        assert site.client.post("/v1/exchanges", content=b"[").status_code == 400
    assert site.client.post("/v1/exchanges", content=LINES[0]).status_code == 200


BUSY = OperationalError("INSERT patient", {}, Exception("database is locked"))


@pytest.mark.parametrize(
    ("failure", "told"), [(StoreError("cannot open the database"), []), (BUSY, ["database_failed"])]
)
def test_only_a_failure_that_the_jobs_do_not_tell_is_told_for_each_request(
    site: Site, failure: Exception, told: list[str]
) -> None:
    def fails(path: str, lines: Sequence[bytes]) -> Receipt:
        raise failure

    site.admitted = fails
    with structlog.testing.capture_logs() as logs:
        post(site)
    assert [entry["event"] for entry in logs] == told


@pytest.mark.parametrize("failure", [StoreError("cannot open the database"), BUSY])
def test_when_the_database_fails_the_sender_is_asked_to_send_again(
    site: Site, failure: Exception
) -> None:
    def fails(path: str, lines: Sequence[bytes]) -> Receipt:
        raise failure

    site.admitted = fails
    answer = site.client.post("/v1/exchanges", content=LINES[0])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert list(answer.json()) == ["error"]
    assert "patient" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_fault_of_ours_is_an_error_in_json_without_its_text(site: Site) -> None:
    def fails(path: str, lines: Sequence[bytes]) -> Receipt:
        raise RuntimeError("patient zero")

    site.admitted = fails
    answer = site.client.post("/v1/exchanges", content=LINES[0])
    assert (answer.status_code, list(answer.json())) == (500, ["error"])
    assert "patient" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_posting_while_a_job_writes_waits_and_then_succeeds(site: Site) -> None:
    answers: list[int] = []
    with site.rig.database.begin():
        thread = threading.Thread(
            target=lambda: answers.append(
                site.client.post("/v1/exchanges", content=LINES[0]).status_code
            )
        )
        thread.start()
        assert site.client.get("/healthz").status_code == 200
    thread.join(PATIENCE)
    assert answers == [200]
