from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.records import Measurement, Signal, Verdict, WindowId
from monitor.service.case import RankedSlice
from monitor.service.findings import Findings, leading_signal, verdict_in_words, worst_first
from monitor.store.history import Run

START = datetime(2026, 3, 1, 5, tzinfo=UTC)
WINDOW = WindowId(START, START + timedelta(hours=1))
ACME = RankedSlice("tenant", "acme", n=60, portion=0.33, share=0.03, excess=0.03, part=0.71)


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
        value=-0.19 if is_known else None,
        stderr=0.03,
        null_mean=-0.05,
        excess_ratio=(4.1 if verdict is Verdict.DRIFTING else 0.2) if is_known else None,
        reason=None if is_known else "no_targets",
    )
    return replace(plain, **more)  # type: ignore[arg-type]  # fields by name


def told(
    *changed: Measurement,
    runs: dict[Signal, Run] | None = None,
    slices: tuple[RankedSlice, ...] = (),
) -> tuple[str, ...]:
    calm = [
        measured(s)
        for s in (
            Signal.VISUAL_DISCREPANCY,
            Signal.TEXTUAL_DISCREPANCY,
            Signal.RESPONSE_DISCREPANCY,
            Signal.EMI,
            Signal.EMID_BOUND_UNSCALED,
        )
    ]
    whole = {m.signal: m for m in [*calm, *changed]}
    return verdict_in_words(Findings("all", whole, runs or {}, leading_signal(whole), slices))


IMAGES = measured(Signal.VISUAL_DISCREPANCY, Verdict.DRIFTING)
EMI = measured(Signal.EMI, Verdict.DRIFTING)


def test_a_verdict_says_since_when_what_from_whom_and_what_it_was_before() -> None:
    since = START - timedelta(hours=2, minutes=45)
    before = measured(Signal.EMI, value=-0.08)
    runs = {Signal.VISUAL_DISCREPANCY: Run(since, None), Signal.EMI: Run(START, before)}
    assert told(IMAGES, EMI, runs=runs, slices=(ACME,))[:4] == (
        "Since 02:15 UTC the images look different (4.1 x threshold).",
        "The texts and responses do not.",
        "71 % of what is different about the images comes from tenant=acme, which is 33 % of the "
        "exchanges with images.",
        "Answers got worse since 05:00 UTC: EMI -0.19 ± 0.03, was -0.08, normally -0.05 "
        "(4.1 x threshold).",
    )


def test_a_run_that_began_on_another_day_is_told_with_its_date() -> None:
    runs = {Signal.VISUAL_DISCREPANCY: Run(START - timedelta(days=1), None)}
    assert told(IMAGES, runs=runs)[0].startswith("Since 2026-02-28 05:00 UTC the images")


def test_changed_traffic_is_never_taken_for_worse_answers_nor_the_other_way_round() -> None:
    assert "Answers have not become noticeably worse: EMI -0.19 ± 0.03, normally -0.05." in told(
        IMAGES
    )
    of_answers = told(EMI)
    assert of_answers[0] == "The images, texts and responses look as they did."
    assert not any("look different" in sentence for sentence in of_answers)


def test_a_slice_that_adds_what_its_size_explains_is_not_named() -> None:
    large = replace(ACME, portion=0.7)
    assert not any("tenant" in sentence for sentence in told(IMAGES, slices=(large,)))


def test_a_slice_is_not_blamed_where_nothing_is_out() -> None:
    assert not any("tenant" in sentence for sentence in told(slices=(ACME,)))


def test_what_is_unknown_is_never_called_calm() -> None:
    unknown = [
        measured(s, Verdict.INSUFFICIENT)
        for s in (
            Signal.VISUAL_DISCREPANCY,
            Signal.TEXTUAL_DISCREPANCY,
            Signal.RESPONSE_DISCREPANCY,
            Signal.EMI,
            Signal.EMID_BOUND_UNSCALED,
        )
    ]
    assert told(*unknown) == (
        "Whether the traffic has changed is unknown: no targets.",
        "Whether answers got worse is unknown: no targets.",
        "How bad could it be? Unknown.",
    )


def test_a_slow_drift_is_told_with_its_beginning() -> None:
    slow = measured(Signal.TEXTUAL_DISCREPANCY, persistent=True, evidence_since=START)
    assert (
        "Slowly since 05:00 UTC, the texts look different: no single window shows it, all of them "
        "together do." in told(slow)
    )


def test_the_case_of_a_slice_says_so_before_anything_else() -> None:
    logging = measured(Signal.IMAGE_LOGGING, Verdict.DRIFTING, value=0.5)
    whole = {m.signal: replace(m, slice_key="tenant=acme") for m in (IMAGES, logging)}
    said = verdict_in_words(Findings("tenant=acme", whole, {}, None))
    assert said[0] == "Of tenant=acme alone:"
    assert said[1].startswith("Logging changed: ")
    assert len(set(said)) == len(said)


def test_changed_logging_is_told_before_anything_else() -> None:
    logging = measured(Signal.IMAGE_LOGGING, Verdict.DRIFTING, value=0.5)
    assert told(logging)[0].startswith("Logging changed: ")
    assert leading_signal({logging.signal: logging}) is Signal.IMAGE_LOGGING


def test_a_cause_leads_before_its_effect_however_far_that_is_out() -> None:
    effect = replace(EMI, excess_ratio=40.0)
    assert leading_signal({m.signal: m for m in (effect, IMAGES)}) is Signal.VISUAL_DISCREPANCY
    assert leading_signal({effect.signal: effect}) is Signal.EMI


def test_the_worst_comes_first_and_what_is_unknown_last() -> None:
    slow = measured(Signal.OUTPUT_GAP, persistent=True)
    calm, unknown = measured(Signal.EMID), measured(Signal.NOVELTY_VISUAL, Verdict.INSUFFICIENT)
    worse = replace(EMI, excess_ratio=9.0)
    order = worst_first([unknown, calm, slow, IMAGES, worse])
    assert order == [worse, IMAGES, slow, calm, unknown]
