"""The q network: layout, training, report, import."""

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from monitor.errors import ConditionalError, ReferenceTooSmallError
from monitor.reference.conditional import (
    QNetwork,
    Vectors,
    load_club_checkpoint,
    train_q,
)
from monitor.reference.signals import single_threaded
from monitor.stats.club import mutual_information

DIM = 16


def pairs(n: int, seed: int, *, linked: bool = True) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, DIM))
    y = x[:, ::-1] + 0.5 * rng.standard_normal((n, DIM)) if linked else rng.standard_normal(x.shape)
    return _unit(x), _unit(y)


def _unit(z: npt.NDArray[np.float64]) -> Vectors:
    return (z / np.linalg.norm(z, axis=1, keepdims=True)).astype(np.float32)


def published_inputs(seed: int, n: int) -> list[Vectors]:
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((1, 768))
    return [
        _unit(base + spread * rng.standard_normal((n, 768))) for spread in (0.8,) * 4 + (1.1,) * 4
    ]


@pytest.mark.parametrize(("seed", "n"), [(1, 90), (2, 200)])
@pytest.mark.parametrize("side", ["p", "q"])
@pytest.mark.parametrize("answers", ["response", "target"])
def test_information_under_published_weights_agrees_with_the_published_program(
    shared_data: Path, fixtures: Path, seed: int, n: int, side: str, answers: str
) -> None:
    golden = json.loads((fixtures / "golden_768.json").read_text())[f"seed{seed}_n{n}"]
    network = load_club_checkpoint(shared_data / "mllmshift_emi" / "CLUB_global.pt")
    samples = published_inputs(seed, n)[slice(0, 4) if side == "p" else slice(4, 8)]
    visual, textual, response, target = samples
    y = torch.from_numpy({"response": response, "target": target}[answers])
    estimate = mutual_information(y, *network.at((visual + textual) / 2))
    assert estimate.value == pytest.approx(golden[f"mi_{answers}_{side}"], abs=1e-6)


def test_information_of_matching_pairs_is_found_and_of_shuffled_ones_is_not() -> None:
    report = train_q(*pairs(600, 1), seed=0).report
    assert report.mi_matched > 10 * report.mi_matched_stderr
    assert abs(report.mi_shuffled) < report.mi_matched / 4
    assert report.has_learned


def test_a_q_of_unrelated_pairs_has_not_learned() -> None:
    assert not train_q(*pairs(600, 2, linked=False), seed=0).report.has_learned


def test_a_hundred_pairs_are_enough_where_the_link_is_strong() -> None:
    assert train_q(*pairs(100, 3), seed=0).report.has_learned


def test_what_is_learned_holds_on_pairs_never_seen() -> None:
    network = train_q(*pairs(600, 4), seed=0).network
    x, y = pairs(300, 5)
    estimate = mutual_information(torch.from_numpy(y), *network.at(x))
    assert estimate.value > 10 * estimate.stderr


def test_the_same_seed_gives_the_same_weights() -> None:
    with single_threaded():
        first, second = (train_q(*pairs(120, 6), seed=7).network.to_arrays() for _ in range(2))
    for key, weights in first.items():
        np.testing.assert_array_equal(weights, second[key])


def test_training_neither_reads_nor_moves_the_global_generator() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    train_q(*pairs(60, 8), seed=0)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_memorised_pair_cannot_pass_for_held_out() -> None:
    x, y = pairs(60, 10, linked=False)
    groups = np.concatenate([np.arange(60)] * 4)
    report = train_q(np.tile(x, (4, 1)), np.tile(y, (4, 1)), seed=0, groups=groups).report
    assert not report.has_learned


def test_too_few_pairs_are_refused_with_the_number_needed() -> None:
    with pytest.raises(ReferenceTooSmallError, match="at least 50"):
        train_q(*pairs(49, 11), seed=0)


def test_progress_ends_at_its_total() -> None:
    seen: list[tuple[str, int, int]] = []
    train_q(*pairs(60, 12), seed=0, stage="q", progress=lambda *step: seen.append(step))
    assert seen[-1][1] == seen[-1][2]
    assert {stage for stage, _, _ in seen} == {"q"}


def test_a_network_survives_its_arrays() -> None:
    network = train_q(*pairs(60, 13), seed=0).network
    x, _ = pairs(5, 14)
    again = QNetwork.from_arrays(network.to_arrays())
    torch.testing.assert_close(again.at(x)[0], network.at(x)[0], rtol=0, atol=0)


def test_a_trained_network_reads_back_from_a_checkpoint_file(tmp_path: Path) -> None:
    network = train_q(*pairs(60, 15), seed=0).network
    torch.save(network.state_dict(), tmp_path / "q.pt")
    x, _ = pairs(5, 16)
    loaded = load_club_checkpoint(tmp_path / "q.pt")
    torch.testing.assert_close(loaded.at(x)[0], network.at(x)[0], rtol=0, atol=0)


def test_weights_with_a_missing_layer_are_refused() -> None:
    arrays = train_q(*pairs(60, 17), seed=0).network.to_arrays()
    del arrays["p_mu.2.bias"]
    with pytest.raises(ConditionalError, match="no q network"):
        QNetwork.from_arrays(arrays)


def test_weights_that_are_not_finite_are_refused() -> None:
    arrays = train_q(*pairs(60, 18), seed=0).network.to_arrays()
    arrays["p_mu.2.bias"][0] = math.nan
    with pytest.raises(ConditionalError, match="finite"):
        QNetwork.from_arrays(arrays)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"PK\x03\x04rubbish"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.pt"
    path.write_bytes(content)
    with pytest.raises(ConditionalError, match="no checkpoint"):
        load_club_checkpoint(path)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"p_mu": Path("x")}, tmp_path / "q.pt")
    with pytest.raises(ConditionalError, match="no checkpoint"):
        load_club_checkpoint(tmp_path / "q.pt")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConditionalError, match="cannot read"):
        load_club_checkpoint(tmp_path / "none.pt")
