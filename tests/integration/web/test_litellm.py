"""What LiteLLM's generic_api callback sends, in its three ways of sending it."""

import json

import httpx
import pytest

from monitor.store.counters import all_counts
from tests.integration.web.conftest import Serve, Site
from tests.unit.traffic.captured import LATEST, payload

BATCH: list[dict[str, object]] = json.loads(payload("litellm_sdk_generic_api_json_array.json"))


@pytest.fixture
def site(new_site: Serve) -> Site:
    site = new_site(limit=10_000_000)
    site.rig.clock.now = LATEST
    return site


def post(site: Site, body: bytes) -> httpx.Response:
    return site.client.post(
        "/v1/litellm", content=body, headers={"Content-Type": "application/json"}
    )


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(BATCH).encode(),
        "\n".join(json.dumps(record) for record in BATCH).encode(),
        json.dumps(BATCH, indent=1).encode(),
    ],
    ids=["array", "lines", "indented array"],
)
def test_a_batch_is_taken_however_it_is_written(site: Site, body: bytes) -> None:
    assert post(site, body).json() == {"accepted": 2, "outcomes": {"admitted": 2, "sampled": 2}}


@pytest.mark.parametrize("indent", [None, 2])
def test_a_single_record_is_taken(site: Site, indent: int | None) -> None:
    body = json.dumps(BATCH[0], indent=indent).encode()
    assert post(site, body).json()["accepted"] == 1


def test_counts_name_the_format_and_the_path(site: Site) -> None:
    post(site, json.dumps(BATCH).encode())
    with site.rig.database.read() as session:
        assert set(all_counts(session)) == {
            ("/v1/litellm", "litellm", "admitted", 2),
            ("/v1/litellm", "litellm", "sampled", 2),
        }


def test_a_batch_sent_again_is_not_counted_again(site: Site) -> None:
    outcomes = [post(site, json.dumps(BATCH).encode()).json()["outcomes"] for _ in range(2)]
    assert outcomes == [{"admitted": 2, "sampled": 2}, {"duplicate": 2}]


def test_one_record_that_is_no_json_or_no_record_costs_only_itself(site: Site) -> None:
    """Python writes NaN for a cost that is none, which is no JSON."""
    bad = [BATCH[0] | {"response_cost": float("nan")}, {"message": "hello"}, 7]
    answer = post(site, json.dumps([*bad, BATCH[1]]).encode())
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert answer.json()["outcomes"] == {
        "admitted": 1,
        "sampled": 1,
        "broken_json": 1,
        "unknown_format": 1,
        "not_an_object": 1,
    }


def test_failures_among_successes_are_counted(site: Site) -> None:
    answer = post(site, payload("litellm_sdk_generic_api_ok_stream_fail.json"))
    outcomes = answer.json()["outcomes"]
    assert (answer.json()["accepted"], outcomes["failed_call"]) == (2, 1)
