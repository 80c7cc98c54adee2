import base64
import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from monitor.records import Exchange, ImageState, LoggedImage
from monitor.simulate.questions import Language
from monitor.simulate.traffic import Drift, DriftKind, Mix, as_native_line, simulate
from monitor.traffic.formats.native import NativeFormat
from monitor.traffic.formats.wire import Caps, Wire

START = datetime(2026, 3, 1, tzinfo=UTC)
IMAGE_KINDS = ["blur", "noise", "frost", "contrast", "jpeg", "sketch", "texture"]
TEXT_KINDS = ["typos", "synonyms", "truncation", "code_switching"]


def some(
    *drifts: Drift, seed: int = 1, count: int = 60, first: int = 0, mix: Mix | None = None
) -> list[Exchange]:
    return list(simulate(seed, start=START, count=count, first=first, drifts=drifts, mix=mix))


def differing(before: list[Exchange], after: list[Exchange]) -> set[str]:
    """Names of the fields in which any exchange differs."""
    fields = ("id", "time", "stream", "text", "response", "images", "target", "labels")
    return {
        name
        for name in fields
        for a, b in zip(before, after, strict=True)
        if getattr(a, name) != getattr(b, name)
    }


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert [as_native_line(e) for e in some()] == [as_native_line(e) for e in some()]


def test_another_seed_gives_other_traffic() -> None:
    assert not {e.text for e in some(seed=1)} >= {e.text for e in some(seed=2)}
    assert not {e.id for e in some(seed=1)} & {e.id for e in some(seed=2)}


def test_a_generator_started_again_goes_on_where_the_first_one_was() -> None:
    drift = Drift(DriftKind.NOISE, share=0.5)
    assert some(drift, count=60)[40:] == some(drift, first=40, count=20)


def test_without_a_count_it_goes_on() -> None:
    endless = simulate(1, start=START)
    assert list(islice(endless, 60)) == some()


def test_times_rise_at_the_rate_that_was_asked_for() -> None:
    times = [e.time for e in some(mix=Mix(per_minute=30))]
    assert times == sorted(times)
    assert timedelta(minutes=1.9) < times[-1] - START < timedelta(minutes=2)


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_an_image_drift_changes_images_and_answers_alone(kind: str) -> None:
    assert differing(some(), some(Drift(DriftKind(kind), 5))) == {"images", "response"}


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_a_text_drift_changes_questions_and_answers_alone(kind: str) -> None:
    assert differing(some(), some(Drift(DriftKind(kind), 5))) == {"text", "response"}


def test_a_new_language_leaves_the_images_alone() -> None:
    before, after = some(), some(Drift(DriftKind.LANGUAGE))
    assert differing(before, after) == {"text", "response", "target", "labels"}
    assert {e.labels["language"] for e in after} == {Language.CHINESE, Language.HINDI}


@pytest.mark.parametrize("kind", [DriftKind.WORSE_RESPONDER, DriftKind.SHUFFLED_ANSWERS])
def test_a_drift_of_the_answers_changes_nothing_else(kind: DriftKind) -> None:
    assert differing(some(), some(Drift(kind))) == {"response"}


def test_shuffled_answers_are_those_of_the_next_exchange() -> None:
    before, after = some(), some(Drift(DriftKind.SHUFFLED_ANSWERS))
    assert [e.response for e in after[:-1]] == [e.response for e in before[1:]]


def test_wrong_images_change_nothing_but_the_images() -> None:
    before, after = some(), some(Drift(DriftKind.WRONG_IMAGE))
    assert differing(before, after) == {"images"}
    assert all(a.images != b.images for a, b in zip(before, after, strict=True) if a.images)


def test_a_text_only_exchange_is_untouched_by_a_drift_of_images() -> None:
    mix = Mix(text_only_share=1.0)
    blurred = some(Drift(DriftKind.BLUR, 5), mix=mix)
    assert not any(e.images for e in blurred)
    assert blurred == some(mix=mix)


def test_a_drift_holds_from_its_start_up_to_its_end() -> None:
    start, end = START + timedelta(seconds=20), START + timedelta(seconds=40)
    drift = Drift(DriftKind.WRONG_IMAGE, start=start, end=end)
    before, after = some(), some(drift)
    changed = [a.time for a, b in zip(before, after, strict=True) if a != b]
    expected = [e.time for e in before if start <= e.time < end and e.images]
    assert changed == expected


def test_a_drift_can_be_kept_to_one_label() -> None:
    drift = Drift(DriftKind.WRONG_IMAGE, labels={"tenant": "globex"})
    pairs = zip(some(), some(drift), strict=True)
    assert {a.labels["tenant"] for a, b in pairs if a != b} == {"globex"}


def test_two_drifts_hold_at_once() -> None:
    both = some(Drift(DriftKind.TYPOS), Drift(DriftKind.BLUR))
    assert [e.text for e in both] == [e.text for e in some(Drift(DriftKind.TYPOS))]
    assert [e.images for e in both] == [e.images for e in some(Drift(DriftKind.BLUR))]


def test_the_truth_says_which_exchanges_were_hit() -> None:
    drift = Drift(DriftKind.TRUNCATION, share=0.3)
    known = some(drift, mix=Mix(truth=True))
    hit = [e.labels["drift"] != "none" for e in known]
    assert hit == [a.text != b.text for a, b in zip(some(), some(drift), strict=True)]
    assert {e.labels["drift"] for e in known} == {"none", "truncation"}


def test_shares_of_the_mix_are_kept() -> None:
    mix = Mix(text_only_share=0.75, target_share=0.6)
    count = 1000
    drift = Drift(DriftKind.TYPOS, share=0.2)
    found = some(drift, count=count, mix=replace(mix, truth=True))
    images = [e.images for e in found if e.images]
    # Five standard errors of a share of 1,000 are at most 0.08.
    assert len(images) / count == pytest.approx(0.25, abs=0.08)
    assert sum(e.target is not None for e in found) / count == pytest.approx(0.6, abs=0.08)
    assert sum(e.labels["drift"] == "typos" for e in found) / count == pytest.approx(0.2, abs=0.08)
    assert sum(e.labels["tenant"] == "acme" for e in found) / count == pytest.approx(0.5, abs=0.08)


def test_an_image_is_asked_about_again_as_often_as_the_mix_says() -> None:
    def repeated(share: float) -> int:
        images = Counter(e.images for e in some(count=150, mix=Mix(repeat_share=share)))
        return sum(n - 1 for images_, n in images.items() if images_)

    assert repeated(0.0) == 0
    assert repeated(0.1) < repeated(0.4)


@pytest.mark.parametrize(
    "wrong", [{"severity": 0}, {"severity": 6}, {"share": -0.1}, {"share": 1.5}]
)
def test_a_drift_off_the_scale_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Drift(DriftKind.BLUR, **wrong)  # type: ignore[arg-type]  # what is tested


def test_weights_that_sum_to_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="weights"):
        some(mix=Mix(tenants={"acme": 0.0}))


def test_a_native_line_carries_the_whole_exchange() -> None:
    one = next(e for e in some() if e.images)
    line = as_native_line(one)
    record = json.loads(line)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert record["id"] == one.id
    assert datetime.fromisoformat(record["time"]) == one.time
    assert record["query"]["text"] == one.text
    assert base64.b64decode(record["query"]["images"][0]["data"]) == one.images[0].data
    assert (record["response"], record["target"]) == (one.response, one.target)
    assert record["labels"] == one.labels


def test_what_is_written_is_what_is_read() -> None:
    reader, caps = NativeFormat(), Caps()
    exchanges = some(Drift(DriftKind.LANGUAGE, share=0.5), mix=Mix(target_share=0.5))
    latest = START + timedelta(days=1)
    read = [r for e in exchanges for r in reader.parse(as_native_line(e), latest)]
    assert [r.exchange(caps) for r in read if isinstance(r, Wire)] == exchanges


def test_a_line_of_text_alone_leaves_out_what_is_absent() -> None:
    mix = Mix(text_only_share=1.0, target_share=0.0)
    record = json.loads(as_native_line(some(count=1, mix=mix)[0]))
    assert set(record) == {"id", "time", "stream", "query", "response", "labels"}
    assert set(record["query"]) == {"text"}


def test_an_image_that_is_not_inline_is_no_native_line() -> None:
    elsewhere = LoggedImage(ImageState.URL, url="https://example.org/1.png")
    with pytest.raises(ValueError, match="inline"):
        as_native_line(replace(some(count=1)[0], images=(elsewhere,)))
