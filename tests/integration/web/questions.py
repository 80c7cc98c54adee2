"""Damaged questions to the pages and the API, and damaged actions."""

import json
import random
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from tests.integration.service.parts import STREAM
from tests.integration.web.mutants import JSON, Mutant
from tests.unit.traffic.test_mutations import KINDS

FORM = "application/x-www-form-urlencoded"
TIME = "2026-03-01T12:00:00Z"
QUESTIONS = {
    "stream": STREAM,
    "end": TIME,
    "slice": "all",
    "signal": "emi",
    "with": TIME,
    "id": "m1",
    "limit": "7",
    "before": "7",
    "after": "7",
}
PAGES = [
    *("/", "/stream", "/window", "/window/case", "/compare", "/exchange", "/export", "/references"),
    *("/reference", "/runbooks/Down", "/promote", "/forget", "/audit", "/tasks/1", "/metrics"),
    *("/healthz", "/static/app.css"),
    *(f"/api/v1/{name}" for name in ("streams", "measurements", "windows", "case", "compare")),
    *(f"/api/v1/{name}" for name in ("exchange", "timeline", "tasks", "tasks/1", "audit")),
    *("/api/v1/acknowledgements", "/api/v1/images/0a", "/api/v1/references/coco"),
    *("/api/v1/references/0a/samples", "/api/v1/references/0a/samples/1/image"),
]
ACTIONS: dict[str, dict[str, object]] = {
    "/api/v1/acknowledgements": {"stream": STREAM, "since": TIME, "until": TIME, "note": "why"},
    "/api/v1/acknowledgements/1/withdraw": {},
    "/api/v1/promotions": {"stream": STREAM, "since": TIME, "until": TIME, "name": "new"},
    "/api/v1/activations": {"reference": "coco", "stream": STREAM},
    "/api/v1/forget": {"stream": STREAM, "id": "m1"},
    "/acknowledge": {"stream": STREAM, "since": TIME, "note": "why"},
    "/acknowledge/withdraw": {"id": "1", "next": "/"},
    "/promote": {"stream": STREAM, "since": TIME, "until": TIME, "name": "new"},
    "/activate": {"reference": "coco", "stream": STREAM},
    "/forget": {"stream": STREAM, "id": "m1"},
    "/login": {"token": "none", "next": "/"},
}


def questions(seed: int, count: int, csrf: str) -> Iterator[Mutant]:
    """As many damaged questions and actions, with the token that forms must have."""
    rng = random.Random(seed)  # noqa: S311 - to repeat, not to hide
    for _ in range(count):
        accept = {"Accept": rng.choice(["text/html", JSON, ""])}
        if rng.random() < 1 / 3:
            path, body = rng.choice(sorted(ACTIONS.items()))
            if path.startswith("/api"):
                kind, sent = JSON, rng.choice(KINDS)(rng, json.dumps(body).encode())
            else:
                kind, sent = FORM, _query(rng, body) + f"&csrf={csrf}".encode()
            yield Mutant(_damaged(rng, path), accept | {"Content-Type": kind}, sent)
        else:
            path = f"{_damaged(rng, rng.choice(PAGES))}?{_query(rng, QUESTIONS).decode()}"
            yield Mutant(path, accept, b"", "GET")


def _damaged(rng: random.Random, path: str) -> str:
    return quote(rng.choice(KINDS)(rng, path.encode()))[:2_000] if rng.random() < 0.1 else path


def _query(rng: random.Random, fields: Mapping[str, object]) -> bytes:
    """Most of the fields and some others, a few of them damaged."""
    names = [name for name in fields if rng.random() < 0.8]
    names += rng.choices([*fields, "cursor", "with", "digest"], k=rng.randint(0, 2))
    given = [(name, str(fields.get(name, "7")).encode()) for name in names]
    damaged = [
        (name, rng.choice(KINDS)(rng, text) if rng.random() < 0.2 else text) for name, text in given
    ]
    return "&".join(f"{name}={quote(text)[:3_000]}" for name, text in damaged).encode()
