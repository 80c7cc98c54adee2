"""Pages of references: which there are, what is in them, how good they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from markupsafe import Markup
from starlette.exceptions import HTTPException

from monitor.errors import ReferenceNotFoundError
from monitor.records import ReferenceVersion, Signal
from monitor.store.exemplars import reference_page
from monitor.store.null_draws import NullDraws, null_draws
from monitor.store.references import (
    EVERY_STREAM,
    active_references,
    find_reference,
    list_references,
)
from monitor.web.drawing import histogram
from monitor.web.health import instrument
from monitor.web.pages import PageParts, Pages
from monitor.web.rendering import link, number
from monitor.web.words import IN_ORDER, wording

LISTED = 200
SHOWN = 12  # exchanges on a page
_SHOWN_VALUES = 12  # of a label
_MAX_AGE = "mllm_monitor_reference_max_age_seconds"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good one of the two networks is."""

    title: str
    has_learned: bool
    gained: float | None  # nats over what knows nothing of the query
    matched: float | None  # information of matching pairs, nats
    stderr: float | None
    shuffled: float | None
    pairs: int


@dataclass(frozen=True, slots=True)
class NullRow:
    """One signal's null: quantiles at every size, and the shape at the largest."""

    signal: Signal
    quantiles: Sequence[tuple[int, float, float, float]]  # n, median, 95 %, extreme
    past: int
    picture: Markup


@dataclass(frozen=True, slots=True)
class LabelShare:
    """How the exchanges of a reference are spread over the values of one label."""

    label: str
    values: Sequence[tuple[str, int, float]]


def reference_routes(parts: PageParts, pages: Pages) -> APIRouter:
    """``/references`` and ``/reference``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/references")
    def references() -> HTMLResponse:
        with parts.database.read() as session:
            versions = list_references(session)[::-1]
            active = active_references(session)
        return pages(
            "references.html",
            "references",
            versions=[(v, judged_by(v, active), quality_of(v.facts)) for v in versions[:LISTED]],
            hidden=max(len(versions) - LISTED, 0),
            max_age=_max_age(parts),
        )

    @router.get("/reference")
    def reference(digest: str = "", after: int = -1, at: int | None = None) -> HTMLResponse:
        first = after if at is None else at - 1
        if not -1 <= first < 2**31:
            raise HTTPException(400, "a position is a whole number from 0 on")
        with parts.database.read() as session:
            try:
                version = find_reference(session, digest)
            except ReferenceNotFoundError as exc:
                raise HTTPException(404, str(exc)) from exc
            active = active_references(session)
            samples = reference_page(session, version.digest, after=first, limit=SHOWN + 1)
            nulls = null_draws(session, version.digest)
        further = samples[SHOWN - 1].position if len(samples) > SHOWN else None
        return pages(
            "reference.html",
            "references",
            version=version,
            streams=judged_by(version, active),
            samples=samples[:SHOWN],
            at=at,
            before=link("/reference", digest=version.digest, after=max(first - SHOWN, -1))
            if first >= 0
            else None,
            further=None
            if further is None
            else link("/reference", digest=version.digest, after=further),
            networks=quality_of(version.facts),
            nulls=_rows(nulls),
            labels=labels_of(version.facts),
            facts=_plain_facts(version.facts),
            notes=_strings(version.facts.get("notes")),
            max_age=_max_age(parts),
        )

    return router


def judged_by(version: ReferenceVersion, active: Mapping[str, str]) -> list[str]:
    """Streams that it judges now."""
    return sorted(
        "every stream without its own" if stream == EVERY_STREAM else stream
        for stream, digest in active.items()
        if digest == version.digest
    )


def quality_of(facts: Mapping[str, object]) -> list[Quality]:
    """Of the networks that were trained with it; older references may say less."""
    titles = {"answer": "Answers, q(y | x)", "pairing": "Images and texts, q(x_t | x_v)"}
    networks = facts.get("networks")
    found = []
    for key, title in titles.items():
        known = networks.get(key) if isinstance(networks, Mapping) else None
        if not isinstance(known, Mapping):
            continue
        likelihood, trivial = known.get("log_likelihood"), known.get("trivial_log_likelihood")
        gained = None
        if isinstance(likelihood, float) and isinstance(trivial, float):
            gained = likelihood - trivial
        found.append(
            Quality(
                title=title,
                has_learned=bool(known.get("has_learned")),
                gained=gained,
                matched=known.get("mi_matched"),
                stderr=known.get("mi_matched_stderr"),
                shuffled=known.get("mi_shuffled"),
                pairs=int(known.get("pairs") or 0),
            )
        )
    return found


def labels_of(facts: Mapping[str, object]) -> list[LabelShare]:
    """Labels by name, of each its most frequent values; none of those that only one value has."""
    labels = facts.get("labels")
    found = []
    for label, counts in sorted(labels.items()) if isinstance(labels, Mapping) else ():
        total = sum(counts.values())
        if total:
            ordered = sorted(counts.items(), key=lambda item: -item[1])[:_SHOWN_VALUES]
            found.append(LabelShare(label, [(v, n, n / total) for v, n in ordered]))
    return found


def _rows(nulls: Sequence[NullDraws]) -> list[NullRow]:
    known = {s.value: s for s in Signal}
    rows = [_row(known[null.signal], null) for null in nulls if null.signal in known]
    return sorted(rows, key=lambda row: IN_ORDER.index(row.signal))


def _row(signal: Signal, null: NullDraws) -> NullRow:
    quantiles = []
    for n, draws in zip(null.sizes, null.draws, strict=True):
        low, high = float(draws.min()), float(draws.max())
        middle, upper = (float(q) for q in np.quantile(draws, [0.5, 0.95]))
        # Of signals that drift downwards the smallest is what is far out.
        is_low = signal.value in _DOWNWARDS
        edge = float(np.quantile(draws, 0.05)) if is_low else upper
        quantiles.append((n, middle, edge, low if is_low else high))
    values = null.draws[-1] if null.past is None else null.past
    title = wording(signal).title
    said = f"{title}: {len(values)} values from {number(values.min())} to {number(values.max())}"
    return NullRow(
        signal=signal,
        quantiles=quantiles,
        past=0 if null.past is None else len(null.past),
        picture=histogram(values.tolist(), [], said),
    )


_DOWNWARDS = frozenset({"emi", "mi_query_response", "mi_query_target", "image_text_agreement"})


def _plain_facts(facts: Mapping[str, object]) -> list[tuple[str, str]]:
    """What is one value or a short list; the rest is shown in parts of its own."""
    found = []
    for key, value in facts.items():
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            found.append((key.replace("_", " "), str(value)))
        elif isinstance(value, Mapping) and key in {"density", "calibration"}:
            said = ", ".join(f"{count} {what}" for what, count in value.items())
            found.append((f"{key} part", said))
    return found


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _max_age(parts: PageParts) -> timedelta | None:
    seconds = instrument(parts.registry, _MAX_AGE)
    return None if seconds is None else timedelta(seconds=seconds)
