"""Whether a reference can say that answers have got worse, and what is missing if it cannot."""

from collections.abc import Mapping

from monitor.errors import NothingLearnedError
from monitor.reference.artefact import Network, Reference


def require_quality(reference: Reference) -> None:
    """Refuse a reference that has no q of answers, because none has learned anything.

    Raises:
        NothingLearnedError: with what was expected, what came and what to do.
    """
    if Network.ANSWER in reference.frozen.networks:
        return
    remedy = "Build it from more exchanges"
    if reference.facts.get("is_conditional_imported"):
        remedy = "Give weights trained on embeddings of these encoders, or none"
    raise NothingLearnedError(
        f"the q of answers of {reference.identity} has learned nothing: on exchanges that it was "
        "not made from, its log likelihood must be above that of a q that ignores the query, and "
        "the information of matching pairs above that of shuffled ones and twice its error; got "
        f"{_figures(reference.facts)}. {remedy}, or "
        f"`mllm-monitor reference activate {reference.identity} --without-quality` to watch for "
        "changes of the traffic alone"
    )


def _figures(facts: Mapping[str, object]) -> str:
    match facts:
        case {"networks": {Network.ANSWER.value: {**found}}}:
            return (
                f"{found['log_likelihood']:.2f} against {found['trivial_log_likelihood']:.2f}, "
                f"and {found['mi_matched']:.3f} ± {found['mi_matched_stderr']:.3f} nats against "
                f"{found['mi_shuffled']:.3f}, from {found['held_out']} pairs"
            )
    return "no report"
