"""Whatever is posted is answered, and never with an error of ours."""

import re
from collections import Counter

import httpx
import pytest

from monitor.store.counters import all_counts
from tests.integration.service.parts import STREAM, exchange
from tests.integration.web.conftest import LIMIT, Serve, Site
from tests.integration.web.mutants import Mutant, mutants, seeds
from tests.integration.web.questions import questions
from tests.unit.traffic.captured import LATEST

MUTANTS = 400
STATUSES = {200, 400, 413, 415}


def post(client: httpx.Client, mutant: Mutant) -> httpx.Response:
    headers = {name: text.encode("latin-1") for name, text in mutant.headers.items()}
    return client.request(mutant.method, mutant.path, content=mutant.body, headers=headers)


@pytest.fixture
def site(new_site: Serve) -> Site:
    site = new_site(limit=LIMIT)
    site.rig.clock.now = LATEST
    return site


def test_a_damaged_request_is_answered_and_the_next_good_one_taken(site: Site) -> None:
    answers = Counter(post(site.client, mutant).status_code for mutant in mutants(5, MUTANTS))
    assert set(answers) <= STATUSES
    assert answers.total() == MUTANTS
    assert answers[200] > MUTANTS / 4  # most damage is that of single records
    good = site.client.post("/v1/exchanges", content=exchange("good", 60 * 24 * 200))
    assert good.json()["outcomes"] == {"admitted": 1, "sampled": 1}


def test_what_is_damaged_was_taken_before(site: Site) -> None:
    answers = [
        post(site.client, Mutant(path, {"Content-Type": kind}, body)).status_code
        for path, kind, body in seeds()
    ]
    assert set(answers) == {200}


def test_a_damaged_question_or_action_is_answered_in_words(measured: Site) -> None:
    form = measured.client.get("/promote", params={"stream": STREAM}).text
    (csrf,) = re.findall(r'name="csrf" value="([0-9a-f]+)"', form)
    for mutant in questions(7, MUTANTS, csrf):
        answer = post(measured.client, mutant)
        assert answer.status_code < 500, (mutant, answer.text)
        assert answer.text or answer.is_redirect, mutant


@pytest.mark.parametrize("number", ["-1", "x", str(2**63), "9" * 5_000])
@pytest.mark.parametrize("path", ["/tasks/{}", "/audit?before={}", "/reference?at={}"])
def test_a_number_that_cannot_be_is_refused_in_words(site: Site, path: str, number: str) -> None:
    page = site.client.get(path.format(number), headers={"Accept": "text/html"})
    assert page.status_code == 400
    assert "</html>" in page.text


def test_no_answer_repeats_what_was_sent(site: Site) -> None:
    said = [post(site.client, mutant).content for mutant in mutants(6, MUTANTS // 4)]
    assert [text for text in said if b"image" in text or b"http" in text] == []
    with site.rig.database.read() as session:
        assert all_counts(session)
