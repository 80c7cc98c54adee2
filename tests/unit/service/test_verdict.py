from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitor.records import Measurement, Signal, Verdict, WindowId
from monitor.service.verdict import in_words
from monitor.stats.bound import emid_bound_unscaled

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WINDOW = WindowId(START, START + timedelta(hours=1))


def measured(signal: Signal, verdict: Verdict = Verdict.IN_CONTROL, **more: object) -> Measurement:
    is_known = verdict is not Verdict.INSUFFICIENT
    plain = Measurement(
        stream="llava",
        slice_key="all",
        signal=signal,
        window=WINDOW,
        n=200,
        verdict=verdict,
        reference="normal@0123",
        value=0.25 if is_known else None,
        stderr=0.05,
        null_mean=0.5,
        threshold=0.4,
        excess_ratio=2.5,
        reason=None if is_known else "too_few_samples: 9 of 10",
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # fields by name


CALM = [
    measured(signal)
    for signal in (
        Signal.VISUAL_DISCREPANCY,
        Signal.TEXTUAL_DISCREPANCY,
        Signal.EMI,
        Signal.EMID_BOUND_UNSCALED,
    )
]


def instead(*changed: Measurement) -> list[Measurement]:
    rest = [m for m in CALM if m.signal not in {c.signal for c in changed}]
    return [*rest, *changed]


def test_nothing_measured_is_said_so() -> None:
    assert in_words([]) == ["Nothing has been measured yet."]


def test_calm_windows_answer_the_three_questions_calmly() -> None:
    assert in_words(CALM) == [
        "Has the traffic changed? Not noticeably.",
        "Have the answers got worse? Not noticeably: EMI 0.250 ± 0.050, normally 0.500.",
        "How bad could it be? The bound on the drop of EMI (unscaled) is 0.25, normally 0.50.",
    ]


def test_what_changed_is_named_with_its_excess_and_what_did_not_beside_it() -> None:
    words = in_words(instead(measured(Signal.VISUAL_DISCREPANCY, Verdict.DRIFTING)))
    assert words[0] == (
        "Has the traffic changed? Yes: the images (2.5 x threshold); not noticeably: the texts."
    )


def test_a_drift_of_the_traffic_alone_does_not_say_that_answers_got_worse() -> None:
    words = in_words(instead(measured(Signal.TEXTUAL_DISCREPANCY, Verdict.DRIFTING)))
    assert words[1].startswith("Have the answers got worse? Not noticeably")


def test_a_fallen_emi_says_that_answers_got_worse_and_not_that_the_traffic_changed() -> None:
    words = in_words(instead(measured(Signal.EMI, Verdict.DRIFTING)))
    assert words[0] == "Has the traffic changed? Not noticeably."
    assert words[1] == (
        "Have the answers got worse? Yes: EMI 0.250 ± 0.050, normally 0.500 (2.5 x threshold)."
    )


def test_too_little_data_is_never_called_calm() -> None:
    unknown = [replace(m, verdict=Verdict.INSUFFICIENT, value=None, reason="too_few") for m in CALM]
    words = in_words(unknown)
    assert words == [
        "Has the traffic changed? Too little is known: too few.",
        "Have the answers got worse? EMI is unknown (too few).",
        "How bad could it be? Unknown.",
    ]


def test_without_targets_responses_that_lost_their_query_are_told() -> None:
    words = in_words(
        instead(
            measured(Signal.EMI, Verdict.INSUFFICIENT),
            measured(Signal.MI_QUERY_RESPONSE, Verdict.DRIFTING),
        )
    )
    assert words[1] == (
        "Have the answers got worse? Without targets EMI is unknown, but responses have less to "
        "do with their queries than they used to."
    )


def test_without_targets_the_bound_is_the_one_of_the_inputs_and_names_its_terms() -> None:
    words = in_words(
        instead(
            measured(Signal.EMID_BOUND_UNSCALED, Verdict.INSUFFICIENT),
            measured(Signal.INPUT_BOUND, terms=("visual", "textual")),
        )
    )
    assert words[2] == (
        "How bad could it be? The input part of the bound is 0.25, normally 0.50, from "
        "images + texts."
    )


def test_slices_do_not_speak_for_the_whole() -> None:
    of_a_slice = measured(Signal.VISUAL_DISCREPANCY, Verdict.DRIFTING, slice_key="tenant=acme")
    assert in_words([*CALM, of_a_slice]) == in_words(CALM)


@pytest.mark.parametrize(
    "signal",
    [
        Signal.IMAGE_TEXT_AGREEMENT,
        Signal.IMAGE_SHARE,
        Signal.NOVELTY_VISUAL,
        Signal.NOVELTY_TEXTUAL,
        Signal.RESPONSE_DISCREPANCY,
    ],
)
def test_every_signal_of_the_traffic_can_say_that_it_changed(signal: Signal) -> None:
    words = in_words([*CALM, measured(signal, Verdict.DRIFTING)])
    assert words[0].startswith("Has the traffic changed? Yes: the ")


def test_a_small_shift_that_lasts_is_said_to_be_slow_with_its_beginning() -> None:
    slow = {"persistent": True, "evidence_since": START}
    said = in_words(
        instead(
            measured(Signal.VISUAL_DISCREPANCY, **slow),
            measured(Signal.EMI, **slow),
        )
    )
    since = "(small but persistent since 2026-03-01 12:00)"
    assert said[:2] == [
        f"Has the traffic changed? Slowly: the images {since}.",
        f"Have the answers got worse? Slowly: EMI 0.250 ± 0.050, normally 0.500 {since}.",
    ]


def test_changed_logging_is_said_first_and_not_called_a_change_of_the_traffic() -> None:
    logging = measured(Signal.IMAGE_LOGGING, Verdict.DRIFTING, terms=("truncated",))
    words = in_words([*CALM, logging])
    assert words[0] == (
        "Logging changed: 25 % of the images are logged in another way than before, now as "
        "truncated (2.5 x threshold). Images and answers are judged by what can still be compared."
    )
    assert words[1:] == in_words(CALM)


def test_logging_that_changes_slowly_is_said_with_its_beginning() -> None:
    slow = measured(Signal.IMAGE_LOGGING, persistent=True, evidence_since=START)
    assert in_words([*CALM, slow])[0].startswith("Logging changed slowly: 25 % of the images")


def test_calm_logging_is_not_spoken_of() -> None:
    assert in_words([*CALM, measured(Signal.IMAGE_LOGGING)]) == in_words(CALM)


def test_what_there_is_too_little_of_to_say_is_not_called_calm() -> None:
    few = measured(Signal.VISUAL_DISCREPANCY, Verdict.INSUFFICIENT, n=9)
    changed = measured(Signal.TEXTUAL_DISCREPANCY, Verdict.DRIFTING)
    assert [in_words(instead(few))[0], in_words(instead(few, changed))[0]] == [
        "Has the traffic changed? Not noticeably; too little to say: the images.",
        "Has the traffic changed? Yes: the texts (2.5 x threshold); too little to say: the images.",
    ]


def test_of_what_a_stream_has_none_of_nothing_is_said() -> None:
    none = measured(Signal.VISUAL_DISCREPANCY, Verdict.INSUFFICIENT, n=0)
    assert in_words(instead(none))[0] == "Has the traffic changed? Not noticeably."


def test_every_part_of_the_bound_is_named_in_words() -> None:
    bound = emid_bound_unscaled(visual=0.1, textual=0.1, gap_reference=0.1, gap_window=0.1)
    said = in_words(instead(measured(Signal.EMID_BOUND_UNSCALED, terms=bound.terms)))[2]
    assert said.endswith(
        "from images + texts + output gap of the reference + output gap of the window."
    )
