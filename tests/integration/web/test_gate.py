"""Who may read and who may act, over HTTP: what is not open is closed."""

from pathlib import Path

import pytest

from monitor.store.audit import Outcome, audit_entries
from monitor.web.gate import Access
from tests.integration.service.parts import START, STREAM, admit, traffic
from tests.integration.web.acting import ACTOR, HTML, READER, Browser, guarded, keys
from tests.integration.web.conftest import Serve, Site

PAGES = ["/", "/references", "/audit", "/runbooks", f"/stream?name={STREAM}", "/window?stream=a"]
API = ["/api/v1/streams", "/api/v1/measurements", "/api/v1/audit", "/api/v1/openapi.json"]
OPEN = ["/metrics", "/healthz", "/readyz", "/static/style.css"]
NOTE = {"stream": STREAM, "since": START.isoformat(), "note": "new camera"}
FORM = {"stream": STREAM, "since": "2026-03-01T12:00", "note": "new camera", "next": "/audit"}
ACTIONS = ["/acknowledge", "/acknowledge/withdraw", "/promote", "/activate", "/forget"]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def shut(new_site: Serve, tmp_path: Path) -> Site:
    """A site with tokens for reading and for acting."""
    return guarded(new_site, tmp_path)


# --- reading


@pytest.mark.parametrize("path", API)
def test_the_api_takes_a_token(shut: Site, path: str) -> None:
    refused = shut.client.get(path)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert "expected a token" in refused.json()["error"]
    assert shut.client.get(path, headers=bearer("another-0123456789abc")).status_code == 401
    assert shut.client.get(path, headers=bearer(READER)).status_code == 200
    assert shut.client.get(path, headers=bearer(ACTOR)).status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_pages_lead_to_the_login(shut: Site, path: str) -> None:
    refused = shut.client.get(path, headers=HTML)
    assert refused.status_code == 401
    assert 'http-equiv="refresh" content="0;url=/login?next=' in refused.text


@pytest.mark.parametrize("path", OPEN)
def test_metrics_health_and_style_stay_open(shut: Site, path: str) -> None:
    assert shut.client.get(path).status_code == 200


def test_metrics_take_a_token_where_that_is_set(new_site: Serve, tmp_path: Path) -> None:
    site = new_site(access=Access(read=keys(tmp_path, "read", READER), guards_metrics=True))
    assert site.client.get("/metrics").status_code == 401
    assert site.client.get("/metrics", headers=bearer(READER)).status_code == 200


def test_posting_traffic_is_a_matter_of_its_own_tokens(shut: Site) -> None:
    assert shut.client.post("/v1/exchanges", content=b"").status_code == 200


def test_a_monitor_that_others_reach_shows_nothing_without_tokens(new_site: Serve) -> None:
    site = new_site(access=Access(is_open=False, is_local=False))
    for path in ("/", "/api/v1/streams"):
        refused = site.client.get(path)
        assert refused.status_code == 403
        assert "set http.read_tokens_file" in refused.json()["error"]
    assert site.client.get("/metrics").status_code == 200


def test_tokens_for_acting_alone_leave_reading_free_where_it_is_open(
    new_site: Serve, tmp_path: Path
) -> None:
    site = new_site(access=Access(act=keys(tmp_path, "act", ACTOR)))
    assert site.client.get("/api/v1/streams").status_code == 200
    assert site.client.post("/api/v1/acknowledgements", json=NOTE).status_code == 401


# --- sessions


def test_a_reader_signs_in_and_sees_where_it_led(shut: Site) -> None:
    browser = Browser(shut)
    done = browser.sign_in(READER, "/audit?before=9")
    assert (done.status_code, done.headers["location"]) == (303, "/audit?before=9")
    cookie = done.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert browser.page("/audit").status_code == 200


def test_a_wrong_token_is_told_so(shut: Site) -> None:
    browser = Browser(shut)
    assert browser.sign_in("another-0123456789abc").status_code == 401
    assert browser.page("/").status_code == 401


@pytest.mark.parametrize(
    "after", ["//evil.example", "https://evil.example", "/\\evil", "evil", "/a\nb", ""]
)
def test_signing_in_leads_nowhere_else(shut: Site, after: str) -> None:
    assert Browser(shut).sign_in(READER, after).headers["location"] == "/"


def test_tries_to_sign_in_are_slowed_down(shut: Site) -> None:
    browser = Browser(shut)
    token = browser.token()
    tries = [browser.post("/login", {"token": "x"}, csrf=token) for _ in range(20)]
    assert {t.status_code for t in tries} >= {401, 429}
    assert tries[-1].status_code == 429


def test_signing_out_ends_the_session(shut: Site) -> None:
    browser = Browser(shut)
    browser.sign_in(READER)
    token = browser.token("/audit")
    assert browser.post("/logout", {}, csrf=token).headers["location"] == "/login"
    assert browser.page("/").status_code == 401


def test_a_session_ends_when_its_token_is_taken_back(new_site: Serve, tmp_path: Path) -> None:
    site = guarded(new_site, tmp_path)
    browser = Browser(site)
    browser.sign_in(READER)
    assert browser.page("/").status_code == 200
    (tmp_path / "read").write_text("carl another-0123456789abc\n")
    assert browser.page("/").status_code == 401


def test_a_cookie_that_is_not_ours_is_nobody(shut: Site) -> None:
    shut.client.cookies.set("mllm_monitor", "WyJhIiwiYW5uIiwiIiwiYWN0Il0.aaaa.bbbb")
    assert Browser(shut).page("/").status_code == 401


def test_behind_https_the_cookie_is_secure(shut: Site) -> None:
    browser = Browser(shut)
    token = browser.token()
    fields = {"token": READER, "next": "/"}
    done = browser.post("/login", fields, csrf=token, **{"X-Forwarded-Proto": "https"})
    assert "Secure" in done.headers["set-cookie"]


# --- acting


@pytest.mark.parametrize("path", ACTIONS)
def test_nobody_acts_without_a_token(shut: Site, path: str) -> None:
    browser = Browser(shut)
    token = browser.token()
    assert browser.post(path, FORM, csrf=token).status_code == 401
    assert entries(shut) == []


@pytest.mark.parametrize("path", ACTIONS)
def test_a_reader_may_not_act_and_the_try_is_kept(shut: Site, path: str) -> None:
    browser = Browser(shut)
    browser.sign_in(READER)
    refused = browser.post(path, FORM, csrf=browser.token("/audit"))
    assert refused.status_code == 403
    assert "takes a token for acting" in refused.text
    assert entries(shut) == [("bob", "request", path, Outcome.REFUSED)]


@pytest.mark.parametrize("path", ["acknowledgements", "promotions", "activations", "forget"])
def test_a_token_for_reading_does_not_act_by_the_api(shut: Site, path: str) -> None:
    refused = shut.client.post(f"/api/v1/{path}", json=NOTE, headers=bearer(READER))
    assert (refused.status_code, refused.json()) == (
        403,
        {"error": "this takes a token for acting"},
    )


@pytest.mark.parametrize("path", ACTIONS)
def test_a_form_without_its_token_is_refused(shut: Site, path: str) -> None:
    browser = Browser(shut)
    browser.sign_in(ACTOR)
    for token in ("", "0" * 64):
        assert browser.post(path, FORM, csrf=token).status_code == 403


@pytest.mark.parametrize("path", ACTIONS)
def test_a_form_of_another_session_is_refused(new_site: Serve, tmp_path: Path, path: str) -> None:
    site = guarded(new_site, tmp_path)
    browser = Browser(site)
    of_before = browser.token()
    browser.sign_in(ACTOR)
    assert browser.post(path, FORM, csrf=of_before).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_another_site_asks_for_is_refused(site: Site, headers: dict[str, str]) -> None:
    by_form = Browser(site).post("/acknowledge", FORM, csrf="any", **headers)
    assert (by_form.status_code, "Another site asked for this." in by_form.text) == (403, True)
    refused = site.client.post("/api/v1/acknowledgements", json=NOTE, headers=headers)
    assert refused.json() == {"error": "another site asked for this"}


def test_what_our_own_page_asks_for_is_done(measured: Site) -> None:
    browser = Browser(measured)
    origin = str(measured.client.base_url).rstrip("/")
    ours = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    token = browser.token("/promote", stream=STREAM)
    done = browser.post("/acknowledge", FORM, csrf=token, **ours)
    assert (done.status_code, done.headers["location"]) == (303, "/audit")


PART_OF_A_PAGE = [
    {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
]


@pytest.mark.parametrize("path", ["/", "/api/v1/streams", "/export?stream=a", "/login"])
@pytest.mark.parametrize("part", PART_OF_A_PAGE)
@pytest.mark.parametrize("site_of", ["cross-site", "same-site"])
def test_other_sites_make_nothing_of_ours_a_part_of_theirs(
    site: Site, path: str, part: dict[str, str], site_of: str
) -> None:
    refused = site.client.get(path, headers={"Sec-Fetch-Site": site_of, **part})
    assert (refused.status_code, refused.json()) == (403, {"error": "another site asked for this"})


@pytest.mark.parametrize("site_of", ["cross-site", "same-site", "none"])
def test_a_link_from_anywhere_leads_to_a_page(site: Site, site_of: str) -> None:
    link = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert site.client.get("/", headers={"Sec-Fetch-Site": site_of, **link}).status_code == 200


@pytest.mark.parametrize("part", PART_OF_A_PAGE)
def test_our_own_pages_have_parts(site: Site, part: dict[str, str]) -> None:
    assert (
        site.client.get("/", headers={"Sec-Fetch-Site": "same-origin", **part}).status_code == 200
    )


def test_a_reader_gets_no_form_for_a_new_normal(new_site: Serve, tmp_path: Path) -> None:
    browser = Browser(guarded(new_site, tmp_path))
    rig = browser.site.rig
    admit(rig.around.intake, traffic(20, 1))
    rig.jobs.ingest.run(lambda: False)
    browser.sign_in(READER)
    page = browser.page("/promote", stream=STREAM).text
    assert "This takes a token for acting" in page
    assert 'action="/promote"' not in page


@pytest.mark.parametrize("host", ["evil.example", "evil.example:9750", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_neither_reads_nor_acts(site: Site, host: str) -> None:
    headers = {"Host": host}
    assert site.client.get("/api/v1/streams", headers=headers).status_code == 403
    refused = site.client.post("/api/v1/acknowledgements", json=NOTE, headers=headers)
    assert refused.status_code == 403
    assert "set http.external_url" in refused.json()["error"]


@pytest.mark.parametrize("host", ["[", "[::1", "a b]", 'localhost/"><script>', "localhost:port"])
@pytest.mark.parametrize("path", ["/", "/nowhere", "/export?stream=a", "/login"])
def test_what_is_no_host_is_refused_and_no_failure(site: Site, host: str, path: str) -> None:
    refused = site.client.get(path, headers={"Host": host})
    assert (refused.status_code, refused.json()) == (
        400,
        {"error": "the header Host is no address"},
    )


@pytest.mark.parametrize("host", ["[::1]:9750", "127.0.0.1", "localhost:9750"])
def test_addresses_in_numbers_are_known(site: Site, host: str) -> None:
    assert site.client.get("/", headers={"Host": host}).status_code == 200


def test_the_names_that_are_set_are_known(new_site: Serve) -> None:
    site = new_site(access=Access(hosts=frozenset({"drift.example"})))
    assert site.client.get("/api/v1/streams", headers={"Host": "drift.example"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", ""])
def test_only_forms_and_json_are_taken(site: Site, kind: str) -> None:
    done = site.client.post(
        "/api/v1/acknowledgements", content=b"{}", headers={"Content-Type": kind}
    )
    assert done.status_code == 415


def test_a_body_that_is_too_large_is_refused(site: Site) -> None:
    large = {**NOTE, "note": "x" * 100_000}
    assert site.client.post("/api/v1/acknowledgements", json=large).status_code == 413


@pytest.mark.parametrize("path", ["/acknowledge", "/activate", "/acknowledge/withdraw", "/logout"])
def test_nothing_is_changed_by_a_get(site: Site, path: str) -> None:
    assert site.client.get(path, params=FORM).status_code == 405
    assert entries(site) == []


def entries(site: Site) -> list[tuple[str, str, str, Outcome]]:
    with site.rig.database.read() as session:
        return [(e.who, e.action, e.target, e.outcome) for e in audit_entries(session, limit=100)]
