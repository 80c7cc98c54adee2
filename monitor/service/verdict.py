"""A window in words: the three questions answered one by one, never mixed."""

from collections.abc import Mapping, Sequence

from monitor.records import ALL, Measurement, Signal, Verdict
from monitor.stats.bound import GAP_REFERENCE, GAP_WINDOW

_CHANGED = {
    Signal.VISUAL_DISCREPANCY: "the images",
    Signal.TEXTUAL_DISCREPANCY: "the texts",
    Signal.RESPONSE_DISCREPANCY: "the responses",
    Signal.IMAGE_TEXT_AGREEMENT: "the pairing of images and texts",
    Signal.IMAGE_SHARE: "the share of exchanges with images",
    Signal.NOVELTY_VISUAL: "the share of new kinds of images",
    Signal.NOVELTY_TEXTUAL: "the share of new kinds of texts",
}

_PARTS = {
    "visual": "images",
    "textual": "texts",
    GAP_REFERENCE: "output gap of the reference",
    GAP_WINDOW: "output gap of the window",
}


def in_words(measurements: Sequence[Measurement], slice_key: str = ALL) -> list[str]:
    """Three sentences or so about one window of one stream; another first if logging changed."""
    whole = {m.signal: m for m in measurements if m.slice_key == slice_key}
    if not whole:
        return ["Nothing has been measured yet."]
    return [
        *about(slice_key),
        *_whether_logging_changed(whole),
        _whether_traffic_changed(whole),
        _whether_answers_got_worse(whole),
        _how_bad_it_could_be(whole),
    ]


def about(slice_key: str) -> list[str]:
    """What must be said first where it is not about all traffic."""
    return [] if slice_key == ALL else [f"Of {slice_key} alone:"]


def reason_in_words(reason: str | None) -> str:
    """Why there is no value, as people write it."""
    return (reason or "not measured").replace("_", " ")


def _whether_logging_changed(whole: Mapping[Signal, Measurement]) -> list[str]:
    """Nothing where it has not: it is no question that people ask, but an answer to two of them."""
    logging = whole.get(Signal.IMAGE_LOGGING)
    if logging is None or logging.value is None:
        return []
    now = f", now as {logging.terms[0]}" if logging.terms else ""
    how = f"{100 * logging.value:.0f} % of the images are logged in another way than before{now}"
    if logging.verdict is Verdict.DRIFTING:
        return [
            f"Logging changed: {how} ({logging.excess_ratio:.1f} x threshold). Images and answers "
            "are judged by what can still be compared."
        ]
    if logging.persistent:
        return [f"Logging changed slowly: {how}{_since(logging)}."]
    return []


def _whether_traffic_changed(whole: Mapping[Signal, Measurement]) -> str:
    known = {signal: whole[signal] for signal in _CHANGED if _is_known(whole.get(signal))}
    if not known:
        return f"Has the traffic changed? Too little is known: {_reason(whole)}."
    out = [signal for signal, m in known.items() if m.verdict is Verdict.DRIFTING]
    calm = [signal for signal in known if signal not in out and "discrepancy" in signal.value]
    few = [
        s for s in _CHANGED if "discrepancy" in s.value and s not in known and _has_some(whole, s)
    ]
    rest = f"; too little to say: {', '.join(_CHANGED[s] for s in few)}" if few else ""
    if not out:
        slow = ", ".join(f"{_CHANGED[s]}{_since(m)}" for s, m in known.items() if m.persistent)
        return f"Has the traffic changed? {f'Slowly: {slow}' if slow else 'Not noticeably'}{rest}."
    named = ", ".join(f"{_CHANGED[s]} ({known[s].excess_ratio:.1f} x threshold)" for s in out)
    unmoved = f"; not noticeably: {', '.join(_CHANGED[s] for s in calm)}" if calm else ""
    return f"Has the traffic changed? Yes: {named}{unmoved}{rest}."


def _whether_answers_got_worse(whole: Mapping[Signal, Measurement]) -> str:
    emi = whole.get(Signal.EMI)
    if emi is None or not _is_known(emi):
        shuffled = whole.get(Signal.MI_QUERY_RESPONSE)
        if shuffled is not None and shuffled.verdict is Verdict.DRIFTING:
            return (
                "Have the answers got worse? Without targets EMI is unknown, but responses have "
                "less to do with their queries than they used to."
            )
        why = reason_in_words(emi.reason if emi is not None else None)
        return f"Have the answers got worse? EMI is unknown ({why})."
    figure = f"EMI {emi.value:.3f} ± {emi.stderr or 0:.3f}, normally {emi.null_mean:.3f}"
    newest = max(m.window for m in whole.values())
    if emi.window != newest:
        start, end = emi.window.start, emi.window.end
        figure += f", in the window {start:%H:%M} to {end:%H:%M}: later ones wait for targets"
    if emi.verdict is Verdict.DRIFTING:
        return f"Have the answers got worse? Yes: {figure} ({emi.excess_ratio:.1f} x threshold)."
    if emi.persistent:
        return f"Have the answers got worse? Slowly: {figure}{_since(emi)}."
    return f"Have the answers got worse? Not noticeably: {figure}."


def _how_bad_it_could_be(whole: Mapping[Signal, Measurement]) -> str:
    bound = whole.get(Signal.EMID_BOUND_UNSCALED)
    kind = "The bound on the drop of EMI (unscaled)"
    if bound is None or not _is_known(bound):
        bound, kind = whole.get(Signal.INPUT_BOUND), "The input part of the bound"
    if bound is None or not _is_known(bound):
        return "How bad could it be? Unknown."
    named = (_PARTS.get(term, term) for term in bound.terms)
    parts = f", from {' + '.join(named)}" if bound.terms else ""
    return (
        f"How bad could it be? {kind} is {bound.value:.2f}, normally {bound.null_mean:.2f}{parts}."
    )


def _since(m: Measurement) -> str:
    if m.evidence_since is None:
        return " (small but persistent)"
    return f" (small but persistent since {m.evidence_since:%Y-%m-%d %H:%M})"


def _has_some(whole: Mapping[Signal, Measurement], signal: Signal) -> bool:
    m = whole.get(signal)
    return m is not None and m.n > 0


def _is_known(m: Measurement | None) -> bool:
    return m is not None and m.verdict is not Verdict.INSUFFICIENT


def _reason(whole: Mapping[Signal, Measurement]) -> str:
    reasons = (reason_in_words(m.reason) for m in whole.values() if m.reason)
    return next(reasons, "no signal could be computed")
