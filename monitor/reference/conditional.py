"""The Gaussian network q(y | x) that a mutual information is estimated under, and its training."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from monitor.errors import ConditionalError, ReferenceTooSmallError
from monitor.stats.club import MiEstimate, Prediction, estimate_from_influence

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]

PAIRS_MIN = 50
GROUPS_MIN = 10
HIDDEN = 128  # the published 250 finds no more between 300 and 2,000 pairs, at twice the time
HELD_OUT_SHARE = 0.15
BATCH = 128
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.1
EPOCHS_MAX = 200
PATIENCE = 10
GAIN_MIN = 1e-3  # nats of held-out likelihood that count as better
SURE = 2  # standard errors of an information that unrelated pairs hardly reach by chance
ROUNDING = 1e-6  # nats; a q that ignores x finds no more
LOGVAR_START = -3.0
LOGVAR_END = -math.tanh(LOGVAR_START)  # as far as a log variance gets; 1 is never reached


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class QNetwork(nn.Module):
    """q(y | x) = N(mu(x), diag exp(logvar(x))); state-dict keys are those of published weights.

    ``logvar`` lies in (-1, 1), far above the variance of a unit vector's components, so in
    practice it rests at -1 and the mean is what is learned.
    """

    def __init__(self, dim_x: int, dim_y: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.p_mu = nn.Sequential(_linear(dim_x, hidden), nn.Tanh(), _linear(hidden, dim_y))
        self.p_logvar = nn.Sequential(
            _linear(dim_x, hidden), nn.Tanh(), _linear(hidden, dim_y), nn.Tanh()
        )

    @property
    def dims(self) -> tuple[int, int]:
        """Dimensions of x and of y."""
        state = self.state_dict()
        return state["p_mu.0.weight"].shape[1], state["p_mu.2.weight"].shape[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of y at ``x``, each ``(n, dim_y)``."""
        return self.p_mu(x), self.p_logvar(x)

    @torch.no_grad()
    def at(self, x: Vectors) -> tuple[Tensor, Tensor]:
        """Mean and log variance at rows of plain numbers, without gradients."""
        mu, logvar = self(torch.from_numpy(x))
        return mu, logvar

    def to_arrays(self) -> dict[str, Vectors]:
        """Weights by state-dict key."""
        return {key: value.numpy().copy() for key, value in self.state_dict().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Vectors]) -> Self:
        """Network with these weights, frozen.

        Raises:
            ConditionalError: if a key is missing or foreign, or shapes do not fit together.
        """
        try:
            hidden, dim_x = arrays["p_mu.0.weight"].shape
            network = cls(dim_x, arrays["p_mu.2.weight"].shape[0], hidden)
            weights = {key: torch.tensor(value) for key, value in arrays.items()}
            network.load_state_dict(weights)
        except (KeyError, ValueError, IndexError, RuntimeError) as exc:
            raise ConditionalError(
                "these weights are no q network; expected p_mu and p_logvar with layers 0 and 2, "
                f"weight and bias each, of matching shapes, got {len(arrays)} arrays"
            ) from exc
        if not all(bool(value.isfinite().all()) for value in weights.values()):
            raise ConditionalError("the weights of the q network are not all finite")
        return network._frozen()

    def _frozen(self) -> Self:
        self.requires_grad_(requires_grad=False)
        return self.eval()


@dataclass(frozen=True, slots=True)
class Pairs:
    """Rows of x and y that belong together; those of one exchange are of one group."""

    x: Vectors
    y: Vectors
    groups: Ints

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class QReport:
    """What a q has learned, on pairs that neither its training nor its stopping has seen."""

    pairs: int  # of the part that a q is trained on; an imported one was not
    held_out: int
    epochs: int  # 0 if it was imported, or if no epoch was better than none
    log_likelihood: float  # nats per pair, without the constant
    trivial_log_likelihood: float  # the same of the best q that ignores x
    mi_matched: float  # nats
    mi_matched_stderr: float  # over exchanges: response and target of one are no two witnesses
    mi_shuffled: float  # nats, each answer given to another query

    @property
    def has_learned(self) -> bool:
        """Whether q tells pairs that belong together from pairs that do not."""
        return self.log_likelihood > self.trivial_log_likelihood and self.mi_matched > max(
            self.mi_shuffled, SURE * self.mi_matched_stderr, ROUNDING
        )


@dataclass(frozen=True, slots=True)
class TrainedQ:
    """A network, and in which epoch its training was best."""

    network: QNetwork
    epochs: int


def train_q(
    x: Vectors,
    y: Vectors,
    *,
    seed: int,
    groups: Ints | None = None,
    stage: str = "q",
    progress: Progress = silent,
) -> TrainedQ:
    """Fit q(y | x) by maximum likelihood until held-out pairs fit no better.

    The same pairs, seed and machine give the same weights, given one BLAS thread. Pairs of one
    group (an exchange with its response and its target) are held out together; without
    ``groups`` each pair stands alone. What is held out decides when to stop, so it cannot say how
    good the q is: see ``assess``.

    Raises:
        ReferenceTooSmallError: below ``PAIRS_MIN`` pairs, or if all belong to one group.
    """
    if len(x) < PAIRS_MIN:
        raise ReferenceTooSmallError(
            f"{stage}: {len(x)} pairs are too few to train on, at least {PAIRS_MIN} are needed"
        )
    rng = np.random.default_rng(seed)
    held = _held_out(np.arange(len(x)) if groups is None else groups, rng, stage)
    training = _Training.of(x, y, held, seed)
    epochs = training.run(rng, stage, progress)
    return TrainedQ(training.folded(), epochs)


def assess(network: QNetwork, *, made_from: Pairs, unseen: Pairs, epochs: int = 0) -> QReport:
    """Judge a q on pairs that it has not seen, beside the best q that ignores x.

    ``made_from`` are the pairs that it was trained on, or those that a trivial q would be; an
    imported q has seen neither.
    """
    mu, logvar = network.at(unseen.x)
    answers, known = torch.from_numpy(unseen.y), torch.from_numpy(made_from.y)
    # The trivial q is kept to the same range of variances, else it would win by that alone.
    spread = known.var(0, correction=0).log().clamp(-LOGVAR_END, LOGVAR_END).expand_as(answers)
    matched = _information(answers, mu, logvar, unseen.groups)
    # By a third: a half could turn an exchange's response into its target.
    shuffled = _information(answers.roll(len(answers) // 3, 0), mu, logvar, unseen.groups)
    return QReport(
        pairs=len(made_from),
        held_out=len(unseen),
        epochs=epochs,
        log_likelihood=-_loss(mu, logvar, answers).item(),
        trivial_log_likelihood=-_loss(known.mean(0).expand_as(answers), spread, answers).item(),
        mi_matched=matched.value,
        mi_matched_stderr=matched.stderr,
        mi_shuffled=shuffled.value,
    )


def _information(y: Tensor, mu: Tensor, logvar: Tensor, groups: Ints) -> MiEstimate:
    """Mutual information whose standard error takes a group as one event."""
    influence = Prediction.of(mu, logvar).influence(y)
    _, group = np.unique(groups, return_inverse=True)
    sums = torch.from_numpy(np.bincount(group, weights=influence.numpy()))
    return estimate_from_influence(sums * (len(sums) / len(influence)))


def require_fit(network: QNetwork, dim: int) -> None:
    """Refuse a q for embeddings of other dimensions.

    Raises:
        ConditionalError: with both.
    """
    if network.dims != (dim, dim):
        raise ConditionalError(
            f"the q network maps {network.dims[0]} to {network.dims[1]} dimensions, the "
            f"embeddings have {dim}; give one that was trained on these encoders' embeddings, or "
            "none: then one is trained"
        )


def load_club_checkpoint(path: Path) -> QNetwork:
    """Read a q network from a file of published weights; nothing in the file is executed.

    Raises:
        ConditionalError: if the file cannot be read or holds something else.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as exc:
        raise ConditionalError(f"cannot read {path}: {exc.strerror or 'not a file'}") from exc
    except Exception as exc:  # the archive reader and the unpickler raise what they trip over
        raise ConditionalError(
            f"{path} is no checkpoint of plain tensors ({type(exc).__name__})"
        ) from exc
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ConditionalError(f"{path} is no checkpoint of plain tensors, expected a state dict")
    return QNetwork.from_arrays({str(key): v.float().numpy() for key, v in loaded.items()})


@dataclass(frozen=True, slots=True)
class _Training:
    """A network fitted in centred and scaled coordinates, where its start is well conditioned.

    ``folded`` moves centre and scale into the weights, so that what is kept is the plain layout.
    """

    network: QNetwork
    x: Tensor  # centred and scaled
    y: Tensor  # as given
    held: Tensor
    x_centre: Tensor
    x_scale: float
    y_centre: Tensor
    y_scale: float

    @classmethod
    def of(cls, x: Vectors, y: Vectors, held: npt.NDArray[np.bool_], seed: int) -> Self:
        x_all, y_all, mask = torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(held)
        (x_centre, x_scale), (y_centre, y_scale) = _spread(x_all[~mask]), _spread(y_all[~mask])
        network = _initial(x.shape[1], y.shape[1], seed)
        scaled = (x_all - x_centre) / x_scale
        return cls(network, scaled, y_all, mask, x_centre, x_scale, y_centre, y_scale)

    def run(self, rng: np.random.Generator, stage: str, progress: Progress) -> int:
        """Train; leave the best weights in the network and return their epoch."""
        rows = np.flatnonzero(~self.held.numpy())
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        best, best_epoch, weights = self._held_out_loss(), 0, self._weights()
        for epoch in range(1, EPOCHS_MAX + 1):
            for batch in torch.split(torch.from_numpy(rng.permutation(rows)), BATCH):
                optimizer.zero_grad()
                self._loss(batch).backward()  # type: ignore[no-untyped-call]  # torch has no hint
                optimizer.step()
            progress(stage, epoch, EPOCHS_MAX)
            loss = self._held_out_loss()
            if loss < best - GAIN_MIN:
                best, best_epoch, weights = loss, epoch, self._weights()
            elif epoch - best_epoch >= PATIENCE:
                break
        self.network.load_state_dict(weights)
        progress(stage, EPOCHS_MAX, EPOCHS_MAX)
        return best_epoch

    @torch.no_grad()
    def folded(self) -> QNetwork:
        """The network in the coordinates of the pairs themselves."""
        state = self._weights()
        for head in ("p_mu", "p_logvar"):
            state[f"{head}.0.weight"] /= self.x_scale
            state[f"{head}.0.bias"] -= state[f"{head}.0.weight"] @ self.x_centre
        state["p_mu.2.weight"] *= self.y_scale
        state["p_mu.2.bias"] = state["p_mu.2.bias"] * self.y_scale + self.y_centre
        return QNetwork.from_arrays({key: value.numpy() for key, value in state.items()})

    def _loss(self, rows: Tensor) -> Tensor:
        mu, logvar = self.network(self.x[rows])
        return _loss(mu * self.y_scale + self.y_centre, logvar, self.y[rows])

    @torch.no_grad()
    def _held_out_loss(self) -> float:
        return self._loss(self.held).item()

    def _weights(self) -> dict[str, Tensor]:
        return {key: value.clone() for key, value in self.network.state_dict().items()}


def _linear(wide: int, narrow: int) -> nn.Linear:
    # Weights come from a seed or from storage, never from torch's global generator.
    return nn.Linear(wide, narrow, device="meta").to_empty(device="cpu")


def _initial(dim_x: int, dim_y: int, seed: int) -> QNetwork:
    """A q that starts at the mean answer with the least variance it can express."""
    generator = torch.Generator().manual_seed(seed)
    network = QNetwork(dim_x, dim_y)
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    for head in ("p_mu", "p_logvar"):
        first = state[f"{head}.0.weight"]
        state[f"{head}.0.weight"] = torch.randn(first.shape, generator=generator) / dim_x**0.5
    state["p_logvar.2.bias"].fill_(LOGVAR_START)
    network.load_state_dict(state)
    return network


def _loss(mu: Tensor, logvar: Tensor, y: Tensor) -> Tensor:
    """Minus the log likelihood per pair, up to a factor and a constant."""
    return ((mu - y).square() / logvar.exp() + logvar).sum(1).mean()


def _spread(rows: Tensor) -> tuple[Tensor, float]:
    centre = rows.mean(0)
    return centre, max((rows - centre).square().mean().sqrt().item(), 1e-6)


def _held_out(groups: Ints, rng: np.random.Generator, stage: str) -> npt.NDArray[np.bool_]:
    members = np.unique(groups)
    if len(members) < GROUPS_MIN:
        raise ReferenceTooSmallError(
            f"{stage}: the pairs belong to {len(members)} exchanges, "
            f"at least {GROUPS_MIN} are needed"
        )
    held = rng.permutation(members)[: max(2, round(HELD_OUT_SHARE * len(members)))]
    return np.isin(groups, held)
