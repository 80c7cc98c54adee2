import gzip
import json
import threading

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from monitor.errors import StoreError
from monitor.service.intake import Receipt
from monitor.store.counters import all_counts
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


# --- too much at once, and failures behind it


def test_of_too_many_requests_at_once_one_is_told_to_come_again(site: Site) -> None:
    entered, may_go = threading.Semaphore(0), threading.Event()

    def slow(path: str, lines: list[bytes]) -> Receipt:
        entered.release()
        may_go.wait(PATIENCE)
        return Receipt({})

    site.admitted = slow

    def post() -> None:
        site.client.post("/v1/exchanges", content=LINES[0])

    threads = [threading.Thread(target=post) for _ in range(MAX_CONCURRENT)]
    for thread in threads:
        thread.start()
    assert all(entered.acquire(timeout=PATIENCE) for _ in threads)
    answer = site.client.post("/v1/exchanges", content=LINES[0])
    may_go.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert list(answer.json()) == ["error"]
    assert site.client.post("/v1/exchanges", content=LINES[0]).status_code == 200


def test_a_request_that_failed_gives_its_place_back(site: Site) -> None:
    for _ in range(2 * MAX_CONCURRENT):
        assert site.client.post("/v1/exchanges", content=b"[").status_code == 400
    assert site.client.post("/v1/exchanges", content=LINES[0]).status_code == 200


@pytest.mark.parametrize(
    "failure",
    [
        StoreError("cannot open the database"),
        OperationalError("INSERT patient", {}, Exception("database is locked")),
    ],
)
def test_when_the_database_fails_the_sender_is_asked_to_send_again(
    site: Site, failure: Exception
) -> None:
    def fails(path: str, lines: list[bytes]) -> Receipt:
        raise failure

    site.admitted = fails
    answer = site.client.post("/v1/exchanges", content=LINES[0])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert list(answer.json()) == ["error"]
    assert "patient" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_fault_of_ours_is_an_error_in_json_without_its_text(site: Site) -> None:
    def fails(path: str, lines: list[bytes]) -> Receipt:
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
