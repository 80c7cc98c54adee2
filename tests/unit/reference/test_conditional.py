"""The q network: layout, training, report, import."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import norm

from monitor.errors import ConditionalError, ReferenceTooSmallError
from monitor.reference.conditional import (
    EPOCHS_MAX,
    PATIENCE,
    Pairs,
    QNetwork,
    QReport,
    Vectors,
    _held_out,
    _Training,
    assess,
    load_club_checkpoint,
    require_fit,
    train_q,
)
from monitor.reference.signals import single_threaded
from monitor.stats.club import mutual_information
from tests.oracles import information as oracle

DIM = 16


def pairs(n: int, seed: int, *, linked: bool = True) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, DIM))
    y = x[:, ::-1] + 0.5 * rng.standard_normal((n, DIM)) if linked else rng.standard_normal(x.shape)
    return _unit(x), _unit(y)


def alone(x: Vectors, y: Vectors) -> Pairs:
    """Pairs of which each is an exchange of its own."""
    return Pairs(x, y, np.arange(len(x)))


def learned(n: int, seed: int, *, linked: bool = True) -> QReport:
    """What is found on as many pairs that training has not seen."""
    x, y = pairs(n, seed, linked=linked)
    network = train_q(x, y, seed=0).network
    unseen = alone(*pairs(n, seed + 1000, linked=linked))
    return assess(network, made_from=alone(x, y), unseen=unseen)


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
    report = learned(600, 1)
    assert report.mi_matched > 10 * report.mi_matched_stderr
    assert abs(report.mi_shuffled) < report.mi_matched / 4
    assert report.has_learned


def test_a_q_of_unrelated_pairs_has_not_learned() -> None:
    assert not learned(600, 2, linked=False).has_learned


def test_a_hundred_pairs_are_enough_where_the_link_is_strong() -> None:
    assert learned(100, 3).has_learned


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
    x, y = (np.tile(z, (4, 1)) for z in pairs(60, 10, linked=False))
    together = train_q(x, y, seed=0, groups=np.concatenate([np.arange(60)] * 4))
    apart = train_q(x, y, seed=0)
    assert together.epochs < apart.epochs


def test_training_stops_when_held_out_pairs_have_not_gained_for_a_while() -> None:
    seen: list[int] = []
    trained = train_q(
        *pairs(300, 19), seed=0, progress=lambda stage, done, total: seen.append(done)
    )
    assert trained.epochs > 0
    assert seen[:-1] == list(range(1, trained.epochs + PATIENCE + 1))
    assert trained.epochs + PATIENCE < EPOCHS_MAX


def test_the_weights_kept_are_those_of_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pairs(300, 19)
    with single_threaded():
        best = train_q(x, y, seed=0)
        monkeypatch.setattr("monitor.reference.conditional.EPOCHS_MAX", best.epochs)
        no_longer = train_q(x, y, seed=0)
    for key, weights in best.network.to_arrays().items():
        np.testing.assert_array_equal(weights, no_longer.network.to_arrays()[key])


def test_folding_coordinates_into_the_weights_leaves_what_they_say_as_it_was() -> None:
    x, y = (3 * z + 1 for z in pairs(80, 24))
    is_held = np.arange(80) < 20
    training = _Training.of(x, y, is_held, seed=5)
    assert training.x[20:].mean(0).numpy() == pytest.approx(0, abs=1e-5)
    assert training.x[20:].square().mean().item() == pytest.approx(1)
    assert training.y_centre.numpy() == pytest.approx(y[20:].mean(axis=0))
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in training.network.parameters():
            weights.add_(0.1 * torch.randn(weights.shape, generator=source))
    mu, logvar = training.folded().at(x)
    scaled_mu, same_logvar = training.network.at(training.x.numpy())
    expected = scaled_mu * training.y_scale + training.y_centre
    torch.testing.assert_close((mu, logvar), (expected, same_logvar), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("members", "held"), [(10, 2), (100, 15), (400, 60)])
def test_answers_of_one_exchange_are_held_out_together(members: int, held: int) -> None:
    groups = np.repeat(np.arange(members), 3)
    found = _held_out(groups, np.random.default_rng(1), "q").reshape(-1, 3)
    assert (found.all(axis=1) == found.any(axis=1)).all()
    assert found.all(axis=1).sum() == held


def test_the_error_of_an_information_takes_the_answers_of_an_exchange_as_one() -> None:
    x, y = pairs(200, 20)
    network = train_q(x, y, seed=0).network
    once = alone(*pairs(100, 21))
    doubled = Pairs(*(np.concatenate((a, a)) for a in (once.x, once.y, once.groups)))
    plain, twice = (assess(network, made_from=alone(x, y), unseen=u) for u in (once, doubled))
    assert twice.mi_matched == pytest.approx(plain.mi_matched)
    assert twice.mi_matched_stderr == pytest.approx(plain.mi_matched_stderr)


def test_a_report_has_the_likelihoods_and_informations_of_pairs_never_seen() -> None:
    x, y = pairs(200, 20)
    network, unseen = train_q(x, y, seed=0).network, alone(*pairs(90, 21))
    report = assess(network, made_from=alone(x, y), unseen=unseen, epochs=7)

    def log_likelihood(mu: np.ndarray, logvar: np.ndarray) -> float:
        """Twice the logarithm of the density per pair, without its constant."""
        densities = norm.logpdf(unseen.y, mu, np.exp(logvar / 2)) + np.log(2 * np.pi) / 2
        return float(2 * densities.sum(1).mean())

    mu, logvar = (t.double() for t in network.at(unseen.x))
    shuffled = torch.from_numpy(np.roll(unseen.y, 30, axis=0)).double()
    # Answers of unit norm vary by far less than the least variance that a q can express.
    trivial = log_likelihood(y.mean(0), np.full(DIM, np.tanh(-3.0)))
    assert (report.pairs, report.held_out, report.epochs) == (200, 90, 7)
    assert report.log_likelihood == pytest.approx(log_likelihood(mu.numpy(), logvar.numpy()))
    assert report.trivial_log_likelihood == pytest.approx(trivial)
    assert report.mi_shuffled == pytest.approx(oracle.club(shuffled, mu, logvar), abs=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1.3, 9.0])
def test_the_trivial_q_has_the_variances_of_the_answers_as_far_as_a_q_can_have_them(
    scale: float,
) -> None:
    x, y = pairs(200, 20)
    network, far = train_q(x, y, seed=0).network, (scale * DIM**0.5 * y).astype(np.float32)
    report = assess(network, made_from=alone(x, far), unseen=alone(x, far))
    logvar = np.log(far.var(axis=0)).clip(np.tanh(-3), np.tanh(3))
    expected = -(far.var(axis=0) / np.exp(logvar) + logvar).sum()
    assert report.trivial_log_likelihood == pytest.approx(expected, rel=1e-4)


def test_a_q_that_ignores_the_query_has_learned_nothing() -> None:
    x, y = pairs(200, 22)
    arrays = train_q(x, y, seed=0).network.to_arrays()
    arrays["p_mu.2.weight"][:] = 0
    arrays["p_logvar.2.weight"][:] = 0
    report = assess(QNetwork.from_arrays(arrays), made_from=alone(x, y), unseen=alone(x, y))
    assert not report.has_learned


@pytest.mark.parametrize(
    "change",
    [
        {"log_likelihood": -10.0},
        {"mi_shuffled": 0.5},
        {"mi_matched_stderr": 0.26},
        {"mi_matched": -0.1},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_one_of_the_conditions_must_hold_to_have_learned(change: dict[str, float]) -> None:
    report = QReport(500, 500, 9, -9.0, -9.5, mi_matched=0.5, mi_matched_stderr=0.1, mi_shuffled=0)
    assert report.has_learned
    assert replace(report, mi_matched_stderr=0.24).has_learned  # twice that is below 0.5
    assert not replace(report, **change).has_learned


def test_a_network_of_other_dimensions_is_refused_with_both() -> None:
    network = train_q(*pairs(60, 23), seed=0).network
    require_fit(network, DIM)
    with pytest.raises(ConditionalError, match="16 to 16 dimensions, the embeddings have 768"):
        require_fit(network, 768)


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


@pytest.mark.parametrize("content", [[torch.zeros(3)], {"p_mu.0.weight": 1.0}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "q.pt")
    with pytest.raises(ConditionalError, match="no checkpoint of plain tensors"):
        load_club_checkpoint(tmp_path / "q.pt")


class MakesAFolder:
    """What an unpickler that trusts its file would make a folder for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_that_would_run_code_is_refused_before_it_does(tmp_path: Path) -> None:
    torch.save({"p_mu": MakesAFolder(tmp_path / "made")}, tmp_path / "q.pt")
    with pytest.raises(ConditionalError, match="no checkpoint"):
        load_club_checkpoint(tmp_path / "q.pt")
    assert not (tmp_path / "made").exists()


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConditionalError, match="cannot read"):
        load_club_checkpoint(tmp_path / "none.pt")
