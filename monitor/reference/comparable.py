"""What of a window can still be compared where images are logged in another way."""

import hashlib

import numpy as np

from monitor.records import Signal
from monitor.reference.artefact import FrozenReference, Network, Reference
from monitor.reference.embedded import Embedded, Ints, Mask, Population
from monitor.reference.signals import (
    COMPONENTS,
    NO_IMAGES,
    NO_TARGETS,
    TOO_FEW_EVENTS,
    Estimate,
    lacking,
    logging_of,
    of_component,
    views_of,
)
from monitor.stats.decision import Direction
from monitor.stats.novelty import ShareNull

LOGGING_CHANGED = "image_logging_changed"
_OF_IMAGES = (
    *(s for s, component in COMPONENTS.items() if component.population is Population.IMAGES),
    Signal.NOVELTY_VISUAL,
)


def comparable_estimates(
    reference: Reference, window: Embedded, *, alpha: float
) -> dict[Signal, Estimate]:
    """The signals that images lost in the log would move, where logging has changed; else none.

    Texts and responses are what they were, and images are compared by those that are left. Where
    these are too few the reason says so. But to q a query without its image is another query:
    what asks q is computed from ``comparable`` exchanges. The caller sets one BLAS thread.
    """
    frozen, rows = reference.frozen, comparable_rows(reference, window, alpha=alpha)
    if rows is None:
        return {}
    views = views_of(frozen, window.take(rows))
    found = {
        signal: _told(
            of_component(component, views[component.population]),
            before=int(component.population.of(window).sum()),
        )
        for signal, component in COMPONENTS.items()
        if component.network is Network.ANSWER
    }
    seen, carried = len(window.z_v), int(window.carries_image.sum())
    if lacking(frozen, Population.IMAGES) is None and seen < frozen.smallest_window:
        too_few = _told(Estimate(seen, reason=TOO_FEW_EVENTS), before=carried)
        found |= dict.fromkeys(_OF_IMAGES, too_few)
    return found


def comparable_rows(reference: Reference, window: Embedded, *, alpha: float) -> Mask | None:
    """The exchanges of the window that what asks q is computed from; None where it is all."""
    if not _loses_otherwise(reference, window, alpha):
        return None
    return comparable(reference.frozen, window)


def comparable(frozen: FrozenReference, window: Embedded) -> Mask:
    """The largest part of the exchanges in which images are lost as often as in the reference.

    Of those that came with an image, too many that lost it are dropped, or too many that did not,
    and of those that came without one the same share: how many come with an image is traffic, not
    logging. Which ones is decided by their ids alone, so any order of the window keeps the same.
    """
    carried, seen = window.carries_image, window.has_image
    kinds = {"lost": carried & ~seen, "seen": carried & seen, "none": ~carried}
    n_lost, n_seen, n_none = (int(mask.sum()) for mask in kinds.values())
    if n_lost + n_seen == 0:
        return np.ones(len(window), dtype=np.bool_)
    r = frozen.lost_share
    if n_lost > r * (n_lost + n_seen):
        n_lost = round(n_seen * r / (1 - r))
    else:
        n_seen = round(n_lost * (1 - r) / r) if r > 0 else n_seen
    n_none = round(n_none * (n_lost + n_seen) / int(carried.sum()))
    order = _by_id(window)
    keeps = np.zeros(len(window), dtype=np.bool_)
    for mask, n in zip(kinds.values(), (n_lost, n_seen, n_none), strict=True):
        keeps[order[mask[order]][:n]] = True
    return keeps


def _loses_otherwise(reference: Reference, window: Embedded, alpha: float) -> bool:
    """Whether logging has changed so that more images are lost than in the reference, or fewer."""
    logging, null = logging_of(reference.frozen, window), reference.states_null
    states = reference.frozen.image_states
    if logging.value is None or null is None or states is None:
        return False
    if not null.decide(logging.value, logging.n, alpha=alpha).is_drifting:
        return False
    known = float(states.sum())
    lost = ShareNull(known * reference.frozen.lost_share, known)
    count = logging.n - len(window.z_v)
    return lost.decide(count, logging.n, direction=Direction.BOTH, alpha=alpha).is_drifting


def _by_id(window: Embedded) -> Ints:
    keys = [hashlib.sha256(name.encode(errors="surrogatepass")).digest() for name in window.ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _told(estimate: Estimate, before: int) -> Estimate:
    if estimate.n == before or estimate.reason not in {TOO_FEW_EVENTS, NO_IMAGES, NO_TARGETS}:
        return estimate
    reason = f"{LOGGING_CHANGED}: {estimate.n} of {before} can be compared"
    return Estimate(estimate.n, reason=reason)
