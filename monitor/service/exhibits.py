"""What a case shows of single exchanges, and what a reader must know beside it."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from monitor.records import ALL, Modality, Signal, Verdict
from monitor.reference.shares import SignalShares
from monitor.service.attribution import NotableEvent
from monitor.service.case import Case, NearestOfReference, RankedExchange
from monitor.store.exemplars import Exemplar, ReferenceExemplar

Floats = npt.NDArray[np.float64]
SHOWN_CHARS = 2_000  # of a text of an exchange
ROUNDING = 1e-6  # nats


def ranked_exchange(
    event: NotableEvent,
    content: Exemplar,
    known: Mapping[int, ReferenceExemplar],
    thresholds: Mapping[Modality, float],
    shares: Floats,
) -> RankedExchange:
    """An event with its content, beside what is known of its neighbours."""
    return RankedExchange(
        sample_id=event.sample_id,
        exchange_id=event.exchange_id,
        time=content.time,
        labels=event.labels,
        text=clipped(content.text),
        response=clipped(content.response),
        target=clipped(content.target),
        target_source=content.target_source,
        images=content.images,
        share=float(shares[event.position]),
        shares=event.shares,
        novelty=event.novelty,
        novel=tuple(m for m, d in event.novelty.items() if d > thresholds.get(m, np.inf)),
        neighbours={
            modality: tuple(
                NearestOfReference(
                    position=n.position,
                    distance=n.distance,
                    exchange_id=there.exchange_id,
                    text=clipped(there.text),
                    response=clipped(there.response),
                    target=clipped(there.target),
                    has_thumbnail=there.has_thumbnail,
                )
                for n in near
                if (there := known.get(n.position)) is not None
            )
            for modality, near in event.neighbours.items()
        },
    )


def clipped(text: str | None) -> str | None:
    """The beginning of a text that is too long to be shown."""
    if text is None or len(text) <= SHOWN_CHARS:
        return text
    return text[:SHOWN_CHARS] + " …"


def why_too_few(blank: Case, n: int, needed: int) -> str:
    """Why a window or slice with so few stored exchanges is not explained."""
    of_what = "window" if blank.slice_key == ALL else "slice"
    if n == 0 and blank.summary.n:
        return "the exchanges of this window are no longer stored: retention has deleted them"
    return (
        f"the {of_what} is too small to be explained: {n} exchanges, at least {needed} are needed"
    )


def notes_on(blank: Case, split: SignalShares, exchanges: Sequence[RankedExchange]) -> list[str]:
    """Content that is gone, and shares that are not those of what was measured."""
    notes = []
    gone = sum(e.text is None and e.response is None for e in exchanges)
    if gone:
        notes.append(
            f"the content of {gone} of {len(exchanges)} exchanges shown is not kept (any more): "
            "privacy.content_retention"
        )
    measured = next((m for m in blank.measurements if m.signal is split.signal), None)
    if measured is None or measured.value is None:
        return notes
    if abs(measured.value - split.value) > ROUNDING:
        logging = (m for m in blank.measurements if m.signal is Signal.IMAGE_LOGGING)
        if any(m.verdict is Verdict.DRIFTING for m in logging):
            notes.append(
                f"logging changed: {split.signal} was measured from the {measured.n} exchanges "
                f"that can be compared, the shares are of {len(split.events)}"
            )
        else:
            notes.append("the window has changed since it was measured; it is measured again soon")
    return notes
