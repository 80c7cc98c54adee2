"""Effective mutual information and its difference between reference and window."""

import math
from dataclasses import dataclass

from torch import Tensor

from monitor.stats.club import MiEstimate, Prediction, estimate_from_influence


@dataclass(frozen=True, slots=True)
class PairedInformation:
    """Informations of one set of events that have a response and a target."""

    response: MiEstimate
    target: MiEstimate
    emi: MiEstimate


def paired_information(
    response: Tensor, target: Tensor, mu: Tensor, logvar: Tensor
) -> PairedInformation:
    """``I(X; response)``, ``I(X; target)`` and their difference, EMI, in one pass.

    Response and target of one event share a query and often most of their words, so the two
    informations are strongly correlated: the standard error of EMI is that of the paired
    difference, far below the root of the summed squares.

    Args:
        response: ``(n, d)``, embedded responses.
        target: ``(n, d)``, embedded targets of the same events in the same order.
        mu: ``(n, d)``, mean of ``q`` at the queries of these events.
        logvar: ``(n, d)``, log variance of ``q`` there.

    Returns:
        Estimates in nats; EMI is lower when answers are worse, and zero with standard error zero
        where each response is its target.

    Raises:
        TooFewSamplesError: below two events.
        ValueError: if the shapes differ or are not matrices.

    Source:
        Oh et al. (2025), "Understanding Multimodal LLMs Under Distribution Shifts", definition
        of EMI; standard errors as ``estimate_from_influence``.
    """
    prediction = Prediction.of(mu, logvar)
    of_response, of_target = prediction.influence(response), prediction.influence(target)
    return PairedInformation(
        response=estimate_from_influence(of_response),
        target=estimate_from_influence(of_target),
        emi=estimate_from_influence(of_response - of_target),
    )


def emi(response: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> MiEstimate:
    """Effective mutual information ``I(X; response) - I(X; target)``.

    Args:
        response: ``(n, d)``; all four as for ``paired_information``.
        target: ``(n, d)``.
        mu: ``(n, d)``.
        logvar: ``(n, d)``.

    Returns:
        Estimate in nats; lower is worse.

    Raises:
        TooFewSamplesError: below two events.
        ValueError: if the shapes differ or are not matrices.

    Source:
        As ``paired_information``.
    """
    return paired_information(response, target, mu, logvar).emi


def emi_terms(response: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Per-event terms of EMI, for attribution: ``a_i(response) - a_i(target)``.

    Args:
        response: ``(n, d)``; all four as for ``paired_information``.
        target: ``(n, d)``.
        mu: ``(n, d)``.
        logvar: ``(n, d)``.

    Returns:
        ``(n,)`` float64, nats, mean equal to EMI; the lowest are the events whose response fits
        its query worst, measured against the target.

    Raises:
        ValueError: if the shapes differ or are not matrices.

    Source:
        As ``club_terms``.
    """
    prediction = Prediction.of(mu, logvar)
    return prediction.terms(response) - prediction.terms(target)


def emid(emi_p: MiEstimate, emi_q: MiEstimate) -> MiEstimate:
    """EMI of the reference minus EMI of the window; positive is worse.

    Args:
        emi_p: EMI of reference events that ``q`` was not trained on.
        emi_q: EMI of the window, under the same ``q``.

    Returns:
        Difference in nats with the root of the summed squared standard errors, for the two have
        no event in common, and the ``n`` of the window.

    Source:
        Oh et al. (2025), definition of EMID.
    """
    stderr = math.hypot(emi_p.stderr, emi_q.stderr)
    return MiEstimate(emi_p.value - emi_q.value, stderr, n=emi_q.n)
