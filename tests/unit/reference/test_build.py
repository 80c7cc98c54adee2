"""Building a reference: the split, what each part is used for, identity and refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from monitor.errors import ConditionalError, ReferenceTooSmallError
from monitor.records import Signal
from monitor.reference.artefact import Network
from monitor.reference.build import BuiltReference, build
from monitor.reference.conditional import train_q
from monitor.reference.embedded import Embedded
from tests.populations import judged, loaded, traffic, wrongly_paired


def built(events: Embedded, **settings: Any) -> BuiltReference:
    return build(
        events,
        **{
            "name": "normal",
            "encoder_digest": "e" * 64,
            "smallest_window": 20,
            "null_draws": 4,
            **settings,
        },
    )


@pytest.fixture(scope="module")
def events() -> Embedded:
    return traffic(200, seed=1, image_share=0.9, target_share=0.9)


@pytest.fixture(scope="module")
def reference(events: Embedded) -> BuiltReference:
    return built(events)


def changed_rows(events: Embedded, part: np.ndarray, others: Embedded) -> Embedded:
    """The exchanges with all embeddings of those under ``part`` taken from others."""
    whole = traffic(len(events), seed=1)
    assert len(others) == len(whole)
    return replace(
        whole,
        **{
            name: np.where(part[:, None], getattr(others, name), getattr(whole, name))
            for name in ("z_v", "z_t", "z_y", "z_target")
        },
    )


@pytest.fixture(scope="module")
def with_other_calibration() -> tuple[BuiltReference, BuiltReference]:
    plain = traffic(200, seed=1)
    first = built(plain)
    held = np.array([part == "calibration" for part in first.parts])
    return first, built(changed_rows(plain, held, traffic(200, seed=99, skill=0.2)))


@pytest.fixture(scope="module")
def with_other_density() -> tuple[BuiltReference, BuiltReference]:
    plain = traffic(200, seed=1)
    first = built(plain)
    known = np.array([part == "density" for part in first.parts])
    return first, built(changed_rows(plain, known, traffic(200, seed=99, skill=0.2)))


def test_no_event_of_the_calibration_part_touches_a_network_or_the_novelty_thresholds(
    with_other_calibration: tuple[BuiltReference, BuiltReference],
) -> None:
    first, second = with_other_calibration
    learned = [key for key in first.arrays if key.startswith(("q_", "novelty/"))]
    assert len(learned) == 2 * 8 + 2  # the weights of two networks, two thresholds
    for key in learned:
        np.testing.assert_array_equal(first.arrays[key], second.arrays[key])


def test_no_event_of_the_calibration_part_touches_a_density_or_the_output_gap(
    with_other_calibration: tuple[BuiltReference, BuiltReference],
) -> None:
    first, second = (loaded(b).frozen for b in with_other_calibration)
    assert first.output_gap == second.output_gap
    for modality, spectrum in first.spectra.items():
        assert (spectrum.density == second.spectra[modality].density).all()


def test_the_calibration_part_decides_the_nulls_and_the_emi_of_the_reference(
    with_other_calibration: tuple[BuiltReference, BuiltReference],
) -> None:
    first, second = (loaded(b) for b in with_other_calibration)
    assert second.frozen.emi.value < first.frozen.emi.value - 0.1
    assert second.nulls[Signal.EMI].whole < first.nulls[Signal.EMI].whole - 0.1


def test_the_image_share_is_counted_in_the_calibration_part_alone(
    events: Embedded, reference: BuiltReference
) -> None:
    held = np.array([part == "calibration" for part in reference.parts])
    law = reference.arrays[f"share/{Signal.IMAGE_SHARE}"]
    assert law.tolist() == [events.has_image[held].sum(), 100]


def test_the_density_part_decides_the_networks(
    with_other_density: tuple[BuiltReference, BuiltReference],
) -> None:
    first, second = with_other_density
    key = "q_answer/p_mu.2.weight"
    assert not np.array_equal(first.arrays[key], second.arrays[key])


def test_the_parts_have_the_sizes_asked_for(events: Embedded) -> None:
    parts = built(events, calibration_share=0.6).parts
    assert (parts.count("calibration"), parts.count("density")) == (120, 80)


def test_equal_input_has_an_equal_digest(events: Embedded, reference: BuiltReference) -> None:
    assert built(events).digest == reference.digest


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 1},
        {"null_draws": 5},
        {"smallest_window": 21},
        {"encoder_digest": "f" * 64},
        {"calibration_share": 0.55},
    ],
)
def test_whatever_changes_a_number_changes_the_digest(
    events: Embedded, reference: BuiltReference, settings: dict[str, Any]
) -> None:
    assert built(events, **settings).digest != reference.digest


def test_one_other_embedding_changes_the_digest(
    events: Embedded, reference: BuiltReference
) -> None:
    z_y = events.z_y.copy()
    z_y[[0, 1]] = z_y[[1, 0]]
    assert built(replace(events, z_y=z_y)).digest != reference.digest


def test_the_name_is_no_part_of_the_digest(events: Embedded, reference: BuiltReference) -> None:
    assert built(events, name="other").digest == reference.digest


def test_too_few_exchanges_are_refused_with_the_number_needed() -> None:
    with pytest.raises(ReferenceTooSmallError, match="at least 160 are needed"):
        built(traffic(150, seed=2))


def test_the_number_said_to_be_needed_is_enough() -> None:
    assert built(traffic(160, seed=2)).digest


def test_a_small_reference_says_so(events: Embedded) -> None:
    assert any("fewer than" in note for note in built(events, usual_window=21).facts["notes"])


def test_a_large_enough_reference_has_nothing_to_add(reference: BuiltReference) -> None:
    assert reference.facts["notes"] == []


@pytest.fixture(scope="module")
def without_answers() -> BuiltReference:
    """Its responses have nothing to do with the queries, and nothing else can be learned from."""
    return built(traffic(200, seed=3, skill=0.0, target_share=0.0))


def test_a_q_of_answers_that_learned_nothing_is_noted_and_left_out(
    without_answers: BuiltReference,
) -> None:
    (note,) = without_answers.facts["notes"]
    assert note.startswith("the q of answers has not learned")
    assert not without_answers.facts["networks"]["answer"]["has_learned"]
    assert loaded(without_answers).frozen.networks.keys() == {Network.PAIRING}


def test_without_a_q_of_answers_informations_say_so_and_discrepancies_are_judged(
    without_answers: BuiltReference,
) -> None:
    window = traffic(60, seed=4)
    found = judged(loaded(without_answers), window, 0.01)
    reasons = {s: j.reason for s, j in found.items() if j.reason is not None}
    lacking = "q_of_answers_has_learned_nothing"
    assert reasons[Signal.MI_QUERY_RESPONSE] == lacking
    assert found[Signal.TEXTUAL_DISCREPANCY].threshold is not None
    assert Signal.IMAGE_TEXT_AGREEMENT not in reasons


def test_with_targets_and_no_q_of_answers_only_what_asks_it_is_missing() -> None:
    network = train_q(*(traffic(60, seed=5, skill=0.0).fused() for _ in range(2)), seed=5).network
    reference = loaded(built(traffic(200, seed=1), conditional=network))
    found = judged(reference, traffic(60, seed=6), 0.01)
    reasons = {s: j.reason for s, j in found.items() if j.reason is not None}
    asking = (Signal.MI_QUERY_RESPONSE, Signal.MI_QUERY_TARGET, Signal.EMI, Signal.EMID)
    assert reasons == dict.fromkeys(asking, "q_of_answers_has_learned_nothing")


def test_a_q_of_pairing_that_learned_nothing_is_noted_and_left_out() -> None:
    apart = wrongly_paired(traffic(200, seed=1), seed=2)
    reference = built(apart)
    (note,) = reference.facts["notes"]
    assert note.startswith("the q of image and text has not learned")
    found = judged(loaded(reference), traffic(60, seed=6), 0.01)
    reasons = {s: j.reason for s, j in found.items() if j.reason is not None}
    assert reasons == {Signal.IMAGE_TEXT_AGREEMENT: "q_of_pairing_has_learned_nothing"}


def test_an_imported_q_is_kept_as_it_is(events: Embedded) -> None:
    network = train_q(events.fused(), events.z_y, seed=5).network
    arrays = built(events, conditional=network).arrays
    for key, weights in network.to_arrays().items():
        np.testing.assert_array_equal(arrays[f"q_answer/{key}"], weights)


def test_an_imported_q_of_other_dimensions_is_refused(events: Embedded) -> None:
    other = traffic(60, seed=4, dim=24)
    network = train_q(other.fused(), other.z_y, seed=5).network
    with pytest.raises(ConditionalError, match="24 to 24 dimensions, the embeddings have 32"):
        built(events, conditional=network)


def test_progress_names_its_stages(events: Embedded) -> None:
    stages: list[str] = []
    built(events, progress=lambda stage, done, total: stages.append(stage))
    assert list(dict.fromkeys(stages)) == ["q of answers", "q of image and text", "nulls"]
