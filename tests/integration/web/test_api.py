import base64
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate
from sqlalchemy import update

from monitor.records import WindowId
from monitor.store.engine import open_database
from monitor.store.tables import ReferenceSampleRow, SampleRow
from monitor.store.windows import record_window
from tests.integration.service.parts import (
    START,
    Rig,
    admit,
    exchange,
    inline,
    png,
    small_settings,
    store_reference,
    traffic,
)
from tests.integration.web.conftest import WEIRD, Site

DAY = {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}
HOSTILE = "\x00\x1b[31m<img src=x onerror=alert(1)>\u202e\ud83d" + "y" * 50_000


def get(site: Site, path: str, **query: object) -> httpx.Response:
    return site.client.get(f"/api/v1/{path}?{urlencode(query)}")


def described(site: Site) -> dict[str, Any]:
    answer: dict[str, Any] = site.client.get("/api/v1/openapi.json").json()
    return answer


def require_as_described(site: Site, path: str, body: object) -> None:
    """Refuse an answer that the description of its path does not allow, or has no key of."""
    api = described(site)
    schema = api["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]["content"][
        "application/json"
    ]["schema"]
    OAS31Validator({**schema, "components": api["components"]}).validate(body)


@pytest.fixture(scope="module")
def migrated_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every site of this module starts with measured windows and content of strangers."""
    folder = tmp_path_factory.mktemp("busy")
    path = Path(shutil.copy(migrated_file, folder / "monitor.db"))
    hostile = [
        exchange(
            f"hostile-{i}",
            20 + i / 4,
            labels={"tenant": "<b>acme</b>"},
            images=[inline(png(i))],
            response=HOSTILE if i == 0 else "A man.",
        )
        for i in range(40)
    ]
    with open_database(f"sqlite:///{path}") as database:
        rig = Rig(small_settings(folder, slices={"labels": ["tenant"]}), database)
        with database.begin() as session:
            store_reference(session)
        lines = [*traffic(160, 9.9), *traffic(60, 12, stream=WEIRD), *hostile]
        admit(rig.around.intake, lines)
        rig.work()
    return path


@pytest.fixture
def busy(site: Site) -> Site:
    site.publish()
    return site


def test_the_description_is_valid_openapi_and_names_every_route(site: Site) -> None:
    api = described(site)
    validate(api)
    assert {p for p in api["paths"] if p.startswith("/api/v1/")} >= {
        f"/api/v1/{name}"
        for name in (
            "streams",
            "measurements",
            "windows",
            "case",
            "compare",
            "exchange",
            "references",
            "references/{name}",
            "references/{digest}/samples",
            "references/{digest}/samples/{position}/image",
            "images/{content_hash}",
        )
    }


def test_no_route_that_is_read_promises_an_error_of_another_shape(site: Site) -> None:
    paths = described(site)["paths"].items()
    read = [
        methods["get"]
        for path, methods in paths
        if path.startswith("/api/v1/") and "get" in methods
    ]
    assert len(read) >= 11
    for answers in (route["responses"] for route in read):
        assert set(answers) == {"200", "4XX", "5XX"}
        problem = answers["4XX"]["content"]["application/json"]["schema"]
        assert problem == {"$ref": "#/components/schemas/Problem"}


def questions(site: Site) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Path as described, path as asked, and parameters, of everything that can be asked."""
    with site.rig.database.read() as session:
        name = session.query(SampleRow.exchange_id).filter_by(stream="llava").first()[0]  # type: ignore[index]  # there are some
    digest = site.client.get("/api/v1/references").json()["references"][0]["digest"]
    one = {"stream": "llava"}
    other = (START + timedelta(minutes=15)).isoformat()
    yield "streams", "streams", {}
    yield "measurements", "measurements", DAY
    yield "windows", "windows", one
    yield "case", "case", one
    yield "compare", "compare", {**one, "with": other}
    yield "exchange", "exchange", {**one, "id": name}
    yield "references", "references", {}
    yield "references/{name}", f"references/{digest[:12]}", {}
    yield "references/{digest}/samples", f"references/{digest}/samples", {}


def test_every_answer_is_as_it_is_described(busy: Site) -> None:
    asked = list(questions(busy))
    for path, where, query in asked:
        answer = get(busy, where, **query)
        assert answer.status_code == 200, (where, answer.text[:200])
        require_as_described(busy, path, answer.json())
    assert len(asked) == 9


def pages(site: Site, path: str, key: str, **query: object) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = ""
    while cursor is not None:
        answer = get(site, path, **query, **({"cursor": cursor} if cursor else {})).json()
        yield answer[key]
        cursor = answer["next"]


def test_pages_of_measurements_together_are_all_of_them_once(busy: Site) -> None:
    whole = get(busy, "measurements", **DAY).json()["measurements"]
    in_pages = list(pages(busy, "measurements", "measurements", **DAY, limit=37))
    assert [m for page in in_pages for m in page] == whole
    assert {len(page) for page in in_pages[:-1]} == {37}


def test_a_window_that_is_measured_meanwhile_neither_repeats_nor_skips_anything(
    busy: Site,
) -> None:
    whole = get(busy, "measurements", **DAY, stream="llava").json()["measurements"]
    following = pages(busy, "measurements", "measurements", **DAY, stream="llava", limit=20)
    found = next(following)
    stored = busy.rig.around.publisher.latest().streams["llava"]
    assert stored.summary is not None
    before = WindowId(START - timedelta(hours=2), START - timedelta(hours=1))
    of_it = [replace(m, window=before) for m in stored.measurements]
    with busy.rig.database.begin() as session:
        record_window(session, replace(stored.summary, window=before), of_it)
    for page in following:
        found += page
    assert found == whole
    assert len(get(busy, "measurements", **DAY, stream="llava").json()["measurements"]) > len(whole)


def test_windows_come_newest_first_page_by_page(busy: Site) -> None:
    whole = get(busy, "windows", stream="llava").json()["windows"]
    starts = [w["window_start"] for w in whole]
    assert len(whole) > 3
    assert starts == sorted(starts, reverse=True)
    in_pages = [
        w for page in pages(busy, "windows", "windows", stream="llava", limit=2) for w in page
    ]
    assert in_pages == whole


def test_samples_of_a_reference_come_by_position_page_by_page(busy: Site) -> None:
    digest = get(busy, "references").json()["references"][0]["digest"]
    with busy.rig.database.begin() as session:
        session.add_all(
            ReferenceSampleRow(digest=digest, position=i, exchange_id=f"r{i}", part="density")
            for i in range(7)
        )
    path = f"references/{digest}/samples"
    found = [s["position"] for page in pages(busy, path, "samples", limit=3) for s in page]
    assert found == list(range(7))


def _cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "?",
        "AAAA",
        _cursor("text"),
        _cursor([1, 2, 3, 4, 5]),
        _cursor(["a"] * 5),
        _cursor(["2026-03-01", "2026-03-01", "s", "all", "emi"]),
        _cursor([["[" * 500]]),
        "x" * 5_000,
    ],
)
def test_a_cursor_that_is_none_of_ours_is_refused(site: Site, cursor: str) -> None:
    for path in ("measurements", "windows", "references"):
        answer = get(site, path, stream="llava", cursor=cursor)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("windows", {}, 400),
        ("windows", {"stream": "llava", "limit": 0}, 400),
        ("windows", {"stream": "llava", "limit": 10**30}, 400),
        ("windows", {"stream": "x" * 2_000}, 400),
        ("case", {}, 400),
        ("case", {"stream": "nobody"}, 404),
        ("case", {"stream": "llava", "end": "1999-01-01T00:00:00Z"}, 404),
        ("case", {"stream": "llava", "end": "noon"}, 400),
        ("case", {"stream": "llava", "end": "9" * 12}, 400),
        ("case", {"stream": "llava", "signal": "mood"}, 400),
        ("case", {"stream": "llava", "slice": "tenant=nobody"}, 404),
        ("compare", {"stream": "llava"}, 404),
        ("compare", {"stream": "llava", "with": "never"}, 400),
        ("compare", {"stream": "llava", "with": "2020-01-01T00:00:00Z"}, 404),
        ("exchange", {"stream": "llava", "id": "nobody"}, 404),
        ("references/nobody", {}, 404),
        ("references/" + "0" * 64 + "/samples", {}, 404),
        ("references/zz/samples", {}, 400),
        ("references/" + "0" * 64 + "/samples/0/image", {}, 404),
        ("references/" + "0" * 64 + "/samples/-1/image", {}, 400),
        ("images/" + "0" * 64, {}, 404),
        ("images/..%2f..%2fetc", {}, 404),
        ("images/short", {}, 400),
        ("nothing", {}, 404),
    ],
)
def test_whatever_is_wrong_is_told_in_the_one_shape(
    site: Site, path: str, query: dict[str, object], status: int
) -> None:
    answer = get(site, path, **query)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert "\n" not in answer.json()["error"]


def test_a_picture_is_a_small_jpeg_of_our_own_making(busy: Site) -> None:
    case = get(busy, "case", stream="llava", signal="visual_discrepancy").json()
    image = next(e["images"][0] for e in case["exchanges"] if e["images"])
    answer = busy.client.get(f"/api/v1/images/{image['content_hash']}")
    assert image["has_thumbnail"]
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=3600"
    assert answer.content.startswith(b"\xff\xd8\xff")


def test_a_picture_of_a_reference_is_found_by_its_position(busy: Site) -> None:
    digest = get(busy, "references").json()["references"][0]["digest"]
    with busy.rig.database.begin() as session:
        session.add(
            ReferenceSampleRow(
                digest=digest, position=3, exchange_id="r3", part="density", thumbnail=b"\xff\xd8"
            )
        )
    answer = busy.client.get(f"/api/v1/references/{digest}/samples/3/image")
    assert (answer.content, answer.headers["content-type"]) == (b"\xff\xd8", "image/jpeg")


def test_what_strangers_wrote_comes_as_json_that_no_browser_takes_for_a_page(busy: Site) -> None:
    answer = get(busy, "exchange", stream="llava", id="hostile-0")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert "<img src=x onerror=alert(1)>" in body["response"]
    assert body["labels"]["tenant"] == "<b>acme</b>"
    assert "\x00" not in body["response"]


def test_long_texts_are_cut_in_a_case_and_whole_in_the_exchange(busy: Site) -> None:
    with busy.rig.database.begin() as session:
        session.execute(update(SampleRow).values(text="z" * 60_000))
    case = get(busy, "case", stream="llava").json()
    first = case["exchanges"][0]
    assert 1_000 < len(first["text"]) < 3_000
    whole = get(busy, "exchange", stream="llava", id=first["exchange_id"]).json()
    assert len(whole["text"]) == 60_000


def test_a_stream_of_any_name_can_be_asked_about(busy: Site) -> None:
    answer = get(busy, "case", stream=WEIRD).json()
    assert answer["stream"] == WEIRD
    assert answer["exchanges"]


def test_a_case_bounds_everything_it_lists(busy: Site) -> None:
    case = get(busy, "case", stream="llava").json()
    assert len(case["exchanges"]) <= 20
    assert len(case["map"]["points"]) <= 800
    assert all(len(shift["rows"]) <= 21 for shift in case["shifts"])
