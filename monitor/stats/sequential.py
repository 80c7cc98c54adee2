"""Evidence that accumulates over windows: shifts too small for one window, but lasting."""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import bdtr, bdtrc, betaincinv, ndtr

from monitor.stats.novelty import JEFFREYS, ShareNull
from monitor.stats.null import Floats

# Stakes of the bets, in the largest that cannot lose everything. For a lasting shift of d standard
# deviations the best stake is near 1.7 d: one for shifts of 0.2, one for those of 0.6 and more.
STAKES = (1 / 3, 1.0)
# By how many of its own standard errors the centre of a null may be off before a window counts as
# evidence: all windows share that error, so however long one waits it does not average out.
TOLERANCE = 2.5
CLEARED = 1 / 20  # of the threshold; below it a persistent shift has gone


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the windows of one run say together.

    ``bets`` holds the capital of each bet, side by side where a signal is watched on both;
    ``windows`` counts those of the present run.
    """

    bets: tuple[float, ...] = ()
    windows: int = 0
    is_persistent: bool = False

    @property
    def value(self) -> float:
        """Mean of the bets; an alarm at the threshold."""
        return sum(self.bets) / len(self.bets) if self.bets else 0.0


def rank_score(draws: Floats, value: float) -> float:
    """How far up a value stands among null draws: ``(#{below} - #{above}) / (m + 1)``.

    Its expectation is 0 for a value exchangeable with the draws, whatever their law, ties included,
    and at most 0 for a value that is stochastically smaller.

    Args:
        draws: ``(m,)``, m >= 1.
        value: finite.

    Returns:
        Score in (-1, 1).
    """
    below, above = int((draws < value).sum()), int((draws > value).sum())
    return (below - above) / (len(draws) + 1)


def share_score(null: ShareNull, count: int, n: int, *, tolerance: float) -> float:
    """``P(fewer) - P(more)`` among ``n`` events, at a share moved as far as the pool allows.

    Args:
        null: what the calibration part says about the share.
        count: events of the window that have the property, in 0..n.
        n: events in the window, >= 1.
        tolerance: standard errors of the pool's share by which it is moved up, as a quantile of
            its posterior; negative ones move it down.

    Returns:
        Score in [-1, 1] of expectation 0 where the true share is the moved one.
    """
    a, b = null.count + JEFFREYS, null.pool - null.count + JEFFREYS
    moved = float(betaincinv(a, b, ndtr(tolerance)))
    fewer = float(bdtr(count - 1, n, moved)) if count > 0 else 0.0
    return fewer - float(bdtrc(count, n, moved))


def accumulate(evidence: Evidence, scores: Sequence[float], threshold: float) -> Evidence:
    """Count one more window, which must not overlap those that were counted.

    Each bet is an e-detector, ``M_t = (M_{t-1} + 1) e_t`` with ``e_t = 1 + stake · score_t``, and
    so is their mean. While every score has an expectation of at most 0 given the past,
    ``M_t - t`` is a supermartingale: from the start of a run it takes ``threshold`` windows or
    more, on average, until the mean of the bets reaches the threshold. A score is linear in a
    mid-p-value, of all functions of it the one nearest to the likelihood ratio of a small shift
    (efficiency 3/π for a Gaussian law), and it needs no p-value smaller than a finite null can
    give.

    Capital is cut to the threshold, so that what has passed can clear: below ``CLEARED`` of the
    threshold a persistent shift is over and everything starts anew, with the same promise. A run
    that is back at 1 or less has no evidence left; the next window begins another.

    Args:
        evidence: after the window before, ``Evidence()`` at the start.
        scores: of this window, one for each side that is watched; none leaves all as it was.
        threshold: windows between false alarms, > 1.

    Returns:
        Evidence after this window.

    Source:
        Shin, Ramdas & Rinaldo (2022), "E-detectors", the Shiryaev-Roberts form.
    """
    if not scores:
        return evidence
    before = evidence.bets or (0.0,) * (len(STAKES) * len(scores))
    gains = [1 + stake * score for score in scores for stake in STAKES]
    bets = [(bet + 1) * gain for bet, gain in zip(before, gains, strict=True)]
    excess = sum(bets) / len(bets) / threshold
    after = Evidence(
        tuple(bet / max(excess, 1.0) for bet in bets),
        windows=evidence.windows + 1,
        is_persistent=evidence.is_persistent or excess >= 1,
    )
    if after.is_persistent and after.value < CLEARED * threshold:
        return Evidence()
    if after.value <= 1 and not after.is_persistent:
        return Evidence(after.bets)
    return after
