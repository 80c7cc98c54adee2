"""What pages and the API change: each action does what it says and is in the audit."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from monitor.reference.conditional import QReport
from monitor.service.forget import Forgetter
from monitor.service.task_job import STOPPED, TaskJob
from monitor.service.wiring import forget_leftovers, make_promoter
from monitor.store.acknowledgements import acknowledgements
from monitor.store.audit import audit_entries
from monitor.store.engine import open_database
from monitor.store.references import active_references, find_reference, list_references
from monitor.store.samples import window_samples
from monitor.store.tasks import TaskState, claim_task, find_task
from tests.integration.service.parts import (
    HOUR,
    START,
    STREAM,
    Rig,
    admit,
    hash_encoders,
    small_settings,
    store_reference,
    traffic,
)
from tests.integration.web.acting import ACTOR, Browser, guarded
from tests.integration.web.conftest import WEIRD, Serve, Site

EVIL = "</textarea><script>hacked()</script><img src=x onerror=hacked()>\u202e"
LOCAL = "/promote"  # a page with a form


@dataclass
class Desk:
    """A browser at a site with measured traffic, signed in to act where that is needed."""

    site: Site
    browser: Browser

    def do(self, path: str, **fields: str) -> str:
        """Post a form; where it leads."""
        token = self.browser.token(LOCAL, stream=STREAM)
        done = self.browser.post(path, fields, csrf=token)
        assert done.status_code == 303, done.text
        return str(done.headers["location"])

    def refused(self, path: str, **fields: str) -> tuple[int, str]:
        token = self.browser.token(LOCAL, stream=STREAM)
        done = self.browser.post(path, fields, csrf=token)
        return done.status_code, done.text

    def work(self, *, should_stop: bool = False) -> None:
        """One turn of the job that does what pages ask for."""
        rig = self.site.rig
        TaskJob(
            database=rig.database,
            promoter=make_promoter(rig.settings, rig.database, hash_encoders(), workers=1),
            forgetter=Forgetter(rig.database, rig.settings.data_dir, rig.clock),
            clock=rig.clock,
            should_stop=lambda: should_stop,
        )()

    def audit(self) -> list[tuple[str, str, str, str]]:
        with self.site.rig.database.read() as session:
            found = audit_entries(session, limit=100)
        return [(e.who, e.action, e.target, e.outcome.value) for e in reversed(found)]

    def active(self) -> str:
        with self.site.rig.database.read() as session:
            active = active_references(session)
            return find_reference(session, active.get(STREAM) or active["*"]).identity


@pytest.fixture(scope="module")
def migrated_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Traffic of an hour that was measured, and of a stream with a hostile name."""
    folder = tmp_path_factory.mktemp("measured")
    path = Path(shutil.copy(migrated_file, folder / "monitor.db"))
    with open_database(f"sqlite:///{path}") as database:
        rig = Rig(small_settings(folder, slices={"labels": ["tenant"]}), database)
        with database.begin() as session:
            store_reference(session)
        admit(rig.around.intake, [*traffic(350, 59), *traffic(60, 12, stream=WEIRD)])
        rig.jobs.ingest.run(lambda: False)
        rig.jobs.embed()
        rig.jobs.measure()
    return path


@pytest.fixture
def desk(new_site: Serve) -> Iterator[Desk]:
    yield at_desk(new_site())
    structlog.reset_defaults()


def at_desk(site: Site) -> Desk:
    site.publish()
    return Desk(site, Browser(site))


def promotion(desk: Desk, **more: str) -> str:
    return desk.do("/promote", stream=STREAM, since="2026-03-01T12:00", **more)


# --- notes


def test_a_note_is_kept_shown_and_withdrawn(desk: Desk) -> None:
    window = f"/window?stream={STREAM}"
    led_to = desk.do(
        "/acknowledge",
        stream=STREAM,
        since="2026-03-01T12:00",
        until="2026-03-01T13:00",
        note="new camera",
        author="Zoe",
        slice="all",
        next=window,
    )
    assert led_to == window
    page = desk.browser.page(window).text
    assert "Zoe" in page
    assert "new camera" in page
    assert desk.do("/acknowledge/withdraw", note="1", next=window) == window
    assert "new camera" not in desk.browser.page(window).text
    assert desk.audit() == [
        ("local", "acknowledge", STREAM, "done"),
        ("local", "withdraw note", "note 1", "done"),
    ]


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"slice": "all"}, "acknowledged this"),
        ({"slice": "all", "signal": "emi"}, "acknowledged EMI"),
        ({"slice": "tenant=acme"}, "acknowledged tenant=acme"),
        ({"slice": "tenant=acme", "signal": "emi"}, "acknowledged EMI of tenant=acme"),
    ],
)
@pytest.mark.parametrize("page", ["/window?stream={}", "/stream?name={}", "/export?stream={}"])
def test_who_reads_a_note_is_told_what_it_is_about(
    desk: Desk, page: str, about: dict[str, str], said: str
) -> None:
    desk.do("/acknowledge", stream=STREAM, since="2026-03-01T12:00", note="x", **about)
    shown = re.sub("<[^>]+>", " ", desk.browser.page(page.format(STREAM)).text)
    assert re.search(rf"{said} ?(,|2026)", " ".join(shown.split()))


def test_a_note_changes_no_measurement(desk: Desk) -> None:
    before = desk.site.client.get("/api/v1/streams").json()["streams"]
    desk.do("/acknowledge", stream=STREAM, since="2026-03-01T12:00", note="x", open="1")
    desk.site.publish()
    assert desk.site.client.get("/api/v1/streams").json()["streams"] == before


def test_markup_in_a_note_is_text(desk: Desk) -> None:
    desk.do("/acknowledge", stream=STREAM, since="2026-03-01T12:00", note=EVIL, author=EVIL)
    page = desk.browser.page("/window", stream=STREAM).text
    assert "<script>hacked" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;hacked()" in page


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stream": "nobody"}, "No stream of this name"),
        ({"note": " "}, "Note is missing"),
        ({"note": "x" * 2_001}, "1 to 2000 characters"),
        ({"since": "yesterday"}, "expected a time"),
        ({"since": ""}, "Since is missing"),
        ({"until": "2026-03-01T11:00"}, "must end after it begins"),
        ({"signal": "mood"}, "no signal"),
    ],
)
def test_a_note_that_says_nothing_is_refused(desk: Desk, fields: dict[str, str], said: str) -> None:
    usual = {"stream": STREAM, "since": "2026-03-01T12:00", "note": "x"}
    status, text = desk.refused("/acknowledge", **{**usual, **fields})
    assert status in {400, 409}
    assert said in text
    assert desk.audit() == []


def test_the_holder_of_a_token_signs_a_note(new_site: Serve, tmp_path: Path) -> None:
    site = guarded(new_site, tmp_path)
    desk = at_desk(site)
    desk.browser.sign_in(ACTOR)
    desk.do("/acknowledge", stream=STREAM, since="2026-03-01T12:00", note="x", author="mallory")
    with site.rig.database.read() as session:
        assert [note.author for note in acknowledgements(session)] == ["ann"]
    assert desk.audit() == [("ann", "acknowledge", STREAM, "done")]


# --- a new normal


def test_a_promotion_shows_its_progress_its_diff_and_is_accepted_and_taken_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QReport, "has_learned", True)  # nothing can be learned from hashes
    old = desk.active()
    task = promotion(desk, name="new", include_drifting="1")
    assert 'http-equiv="refresh"' in desk.browser.page(task).text
    desk.work()
    page = desk.browser.page(task).text
    assert 'http-equiv="refresh"' not in page
    assert "What changes" in page
    assert desk.active() == old
    new = re.search(r"new@[0-9a-f]{12}", page)
    assert new is not None
    desk.do("/activate", reference=new[0], stream=STREAM, next=task)
    assert desk.active() == new[0]
    assert "Go back to the version of before" in desk.browser.page(task).text
    desk.do("/activate", reference=old, stream=STREAM, without_quality="1", next=task)
    assert desk.active() == old
    assert [entry[1:] for entry in desk.audit()] == [
        ("promote reference", STREAM, "started"),
        ("promote reference", new[0], "done"),
        ("activate reference", new[0], "done"),
        ("activate reference", old, "done"),
    ]


def test_a_version_that_has_learned_nothing_is_stored_and_not_activated(desk: Desk) -> None:
    old = desk.active()
    task = promotion(desk, include_drifting="1", activate="1")
    desk.work()
    page = desk.browser.page(task).text
    assert "has learned nothing" in page
    assert desk.active() == old
    with desk.site.rig.database.read() as session:
        assert len(list_references(session)) == 2


def test_what_cannot_be_promoted_is_said_on_its_page(desk: Desk) -> None:
    task = desk.do("/promote", stream=STREAM, since="2026-03-01T12:00", until="2026-03-01T12:10")
    desk.work()
    assert "are too few" in desk.browser.page(task).text
    assert desk.audit()[-1] == ("local", "promote reference", STREAM, "failed")


def test_a_second_task_is_refused_while_one_waits(desk: Desk) -> None:
    promotion(desk)
    status, text = desk.refused("/promote", stream=STREAM, since="2026-03-01T12:00")
    assert status == 409
    assert "one such task runs at a time" in text


def test_a_task_that_the_daemon_stops_has_failed_and_does_not_hang(desk: Desk) -> None:
    task = promotion(desk, include_drifting="1")
    desk.work(should_stop=True)
    with desk.site.rig.database.read() as session:
        found = find_task(session, int(task.rpartition("/")[2]))
    assert found is not None
    assert (found.state, found.problem) == (TaskState.FAILED, STOPPED)


def test_a_task_that_was_killed_has_failed_once_the_daemon_is_back(desk: Desk) -> None:
    task = promotion(desk)
    with desk.site.rig.database.begin() as session:
        claim_task(session, desk.site.rig.clock())
    forget_leftovers(desk.site.rig.database, hash_encoders())
    assert "the process that worked on it ended" in desk.browser.page(task).text
    assert promotion(desk) != task


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reference": "nothing"}, "There is no reference"),
        ({"stream": ""}, "Stream is missing"),
    ],
)
def test_what_is_not_there_is_not_activated(desk: Desk, fields: dict[str, str], said: str) -> None:
    status, text = desk.refused("/activate", **{"reference": "normal", "stream": "*", **fields})
    assert status in {400, 404}
    assert said in text
    assert desk.audit() == []


def test_a_version_of_other_encoders_is_not_activated(desk: Desk) -> None:
    with desk.site.rig.database.begin() as session:
        other = store_reference(session, salt="other", stream=None)
    status, text = desk.refused("/activate", reference=other, stream=STREAM)
    assert (status, "encoder digest" in text) == (409, True)


def test_nothing_is_activated_while_the_encoders_load(desk: Desk) -> None:
    desk.site.actor.encoder_digest = None
    status, text = desk.refused("/activate", reference="normal", stream=STREAM)
    assert (status, "are loading" in text) == (409, True)


# --- forgetting


def sample_ids(desk: Desk) -> set[str]:
    with desk.site.rig.database.read() as session:
        return {s.exchange_id for s in window_samples(session, STREAM, START, START + HOUR)}


def test_forgetting_says_what_will_happen_and_then_does_it(desk: Desk) -> None:
    name = f"{STREAM}-0-5"
    page = desk.browser.page("/forget", stream=STREAM, id=name).text
    assert "1 sample: its texts, labels, id, time, vectors" in page
    assert "It cannot be undone" in page
    task = desk.do("/forget", stream=STREAM, id=name, sure="1")
    assert name in sample_ids(desk)
    desk.work()
    assert name not in sample_ids(desk)
    assert "It is forgotten: 1 sample" in desk.browser.page(task).text
    assert desk.browser.page("/exchange", stream=STREAM, id=name).status_code == 404


def test_who_forgot_is_kept_and_not_what(desk: Desk) -> None:
    name = f"{STREAM}-0-5"
    desk.do("/forget", stream=STREAM, id=name, sure="1")
    desk.work()
    assert [e[1:] for e in desk.audit()] == [
        ("forget exchange", STREAM, "started"),
        ("forget exchange", STREAM, "done"),
    ]
    with desk.site.rig.database.read() as session:
        entries, task = audit_entries(session, limit=9), find_task(session, 1)
    assert name not in repr(entries)
    assert name not in repr(task)


def test_nothing_is_forgotten_unless_somebody_is_sure(desk: Desk) -> None:
    status, text = desk.refused("/forget", stream=STREAM, id=f"{STREAM}-0-5")
    assert (status, "Say that you are sure" in text) == (400, True)


def test_what_is_not_stored_cannot_be_forgotten(desk: Desk) -> None:
    assert desk.browser.page("/forget", stream=STREAM, id="nothing").status_code == 404


# --- the API


def test_the_api_acknowledges_lists_and_withdraws(desk: Desk) -> None:
    api = desk.site.client
    body = {"stream": STREAM, "since": "2026-03-01T12:00:00Z", "note": "x", "slice": "tenant=t1"}
    made = api.post("/api/v1/acknowledgements", json=body)
    assert (made.status_code, made.json()["id"]) == (201, 1)
    (line,) = api.get("/api/v1/acknowledgements").json()["acknowledgements"]
    assert (line["slice"], line["until"], line["author"]) == ("tenant=t1", None, "local")
    assert api.post("/api/v1/acknowledgements/1/withdraw", json={}).status_code == 200
    assert api.post("/api/v1/acknowledgements/1/withdraw", json={}).status_code == 409
    (line,) = api.get("/api/v1/acknowledgements").json()["acknowledgements"]
    assert line["withdrawn_by"] == "local"


def test_the_api_promotes_and_activates(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QReport, "has_learned", True)
    api = desk.site.client
    body = {"stream": STREAM, "since": "2026-03-01T12:00:00Z", "include_drifting": True}
    asked = api.post("/api/v1/promotions", json=body)
    assert (asked.status_code, asked.json()["state"]) == (202, "waiting")
    desk.work()
    task = api.get(f"/api/v1/tasks/{asked.json()['id']}").json()
    assert task["state"] == "done"
    assert {s["signal"] for s in task["result"]["diff"]["signals"]} >= {"emi"}
    reference = task["result"]["reference"]
    wish = {"reference": reference, "stream": STREAM}
    assert api.post("/api/v1/activations", json=wish).json()["reference"] == reference
    assert desk.active() == reference


def test_the_api_forgets(desk: Desk) -> None:
    api, wish = desk.site.client, {"stream": STREAM, "id": f"{STREAM}-0-5"}
    assert api.post("/api/v1/forget", json=wish).status_code == 202
    desk.work()
    assert api.post("/api/v1/forget", json=wish).status_code == 404
    assert api.get("/api/v1/tasks").json()["tasks"][0]["result"]["samples"] == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("acknowledgements", {"stream": STREAM, "note": "x"}),
        ("acknowledgements", {"stream": STREAM, "note": "x", "since": "2026-03-01T12:00:00"}),
        ("promotions", {"stream": STREAM, "since": "now"}),
        ("activations", {"stream": STREAM, "reference": "x", "more": 1}),
        ("forget", {"stream": STREAM}),
        ("forget", []),
    ],
)
def test_a_body_that_is_wrong_is_told_so_in_one_line(site: Site, path: str, body: object) -> None:
    refused = site.client.post(f"/api/v1/{path}", json=body)
    assert refused.status_code == 400
    assert list(refused.json()) == ["error"]


def test_the_audit_comes_page_by_page(desk: Desk) -> None:
    for _ in range(3):
        desk.do("/acknowledge", stream=STREAM, since="2026-03-01T12:00", note="x")
    api = desk.site.client
    first = api.get("/api/v1/audit", params={"limit": 2}).json()
    second = api.get("/api/v1/audit", params={"limit": 2, "cursor": first["next"]}).json()
    assert [e["detail"] for e in first["entries"] + second["entries"]] == [
        "note 3",
        "note 2",
        "note 1",
    ]
    assert second["next"] is None
    assert api.get("/api/v1/audit", params={"cursor": "nonsense"}).status_code == 400


@pytest.mark.parametrize("path", ["/tasks/x", "/tasks/99999999999999999999", "/tasks/7"])
def test_a_task_that_is_none_is_not_found(site: Site, path: str) -> None:
    refused = site.client.get(path)
    assert refused.status_code in {400, 404}
    assert list(refused.json()) == ["error"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 201, "at most 200 characters"),
        ("normal@148c520c264f", "Expected a name without @"),
        ("nor\u202emal", "Expected a name without @"),
    ],
)
def test_names_that_no_database_holds_or_that_mislead_are_refused(
    desk: Desk, name: str, said: str
) -> None:
    status, text = desk.refused("/promote", stream=STREAM, since="2026-03-01T12:00", name=name)
    assert (status, said in text) == (409, True)


def test_the_audit_page_shows_them(desk: Desk) -> None:
    desk.do("/acknowledge", stream=WEIRD, since="2026-03-01T12:00", note="x")
    page = desk.browser.page("/audit").text
    assert "acknowledge" in page
    assert "<script>alert" not in page
