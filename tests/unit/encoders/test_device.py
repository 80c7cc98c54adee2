"""What a model runner does when memory runs out or the GPU fails, shown on the CPU."""

from collections.abc import Callable

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from monitor.encoders.device import ModelRunner, choose_device
from monitor.errors import EncoderError

CPU = torch.device("cpu")
ROWS = torch.arange(20.0).reshape(10, 2)


class Doubling(nn.Module):
    """Doubles its rows; notes how many came at once and raises what it is told to."""

    def __init__(self, trouble: Callable[[Tensor], None] = lambda rows: None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), 2.0))
        self.trouble = trouble
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        self.trouble(x)
        return x * self.weight


def full_above(rows: int, error: Exception) -> Callable[[Tensor], None]:
    def trouble(x: Tensor) -> None:
        if len(x) > rows:
            raise error

    return trouble


def runner(model: nn.Module) -> ModelRunner:
    return ModelRunner(model, Doubling, CPU, "mixed")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_a_batch_without_room_is_halved_until_it_fits_and_stays_so(error: Exception) -> None:
    model = Doubling(full_above(3, error))
    run = runner(model)
    with capture_logs() as logs:
        found = run.run({"x": ROWS})
        again = run.run({"x": ROWS})
    assert torch.equal(found, 2 * ROWS)
    assert torch.equal(again, 2 * ROWS)
    assert model.sizes == [10, 5, *[2] * 5, *[2] * 5]
    assert [line["rows"] for line in logs if line["event"] == "batch_halved"] == [5, 2]


def test_one_row_without_room_is_an_error() -> None:
    with pytest.raises(MemoryError):
        runner(Doubling(full_above(0, MemoryError()))).run({"x": ROWS})


def test_other_errors_on_the_cpu_are_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        runner(Doubling(full_above(0, RuntimeError("shapes do not fit")))).run({"x": ROWS})


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(EncoderError, match="not finite"):
        runner(Doubling()).run({"x": torch.tensor([[float("inf")]])})


class GpuInWords(ModelRunner):
    """A runner that believes in a GPU; whatever is on it is on the CPU."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model, Doubling, CPU, "single")
        self.device = torch.device("cuda")

    def _forward(self, batch: dict[str, Tensor], precision: str) -> Tensor:
        return self._model(**batch)


@pytest.mark.parametrize(
    ("rows", "error"),
    [(0, RuntimeError("CUDA error: unspecified launch failure")), (0, torch.OutOfMemoryError(""))],
)
def test_when_a_gpu_fails_or_has_no_room_at_all_the_cpu_takes_over_with_one_line(
    rows: int, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    run = GpuInWords(Doubling(full_above(rows, error)))
    with capture_logs() as logs:
        assert torch.equal(run.run({"x": ROWS}), 2 * ROWS)
    assert run.device == CPU
    given_up = [line for line in logs if line["event"] == "gpu_given_up"]
    assert [line["going_on"] for line in given_up] == ["on the CPU"]


class Overflowing(GpuInWords):
    """Half precision ends at 20."""

    def __init__(self) -> None:
        super().__init__(Doubling())
        self._precision = "mixed"

    def _forward(self, batch: dict[str, Tensor], precision: str) -> Tensor:
        rows = super()._forward(batch, precision)
        return rows.where(rows < 20, torch.inf) if precision == "mixed" else rows


def test_rows_that_overflow_half_precision_are_computed_again_in_single_precision() -> None:
    run = Overflowing()
    assert torch.equal(run.run({"x": ROWS}), 2 * ROWS)
    assert run._model.sizes == [10, 5]


def test_a_gpu_without_room_for_the_weights_leaves_the_model_on_the_cpu() -> None:
    class TooLarge(Doubling):
        def to(self, *_: object) -> nn.Module:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with capture_logs() as logs:
        run = ModelRunner(TooLarge(), Doubling, torch.device("cuda"), "mixed")
    assert (run.device, [line["event"] for line in logs]) == (CPU, ["gpu_given_up"])
    assert torch.equal(run.run({"x": ROWS}), 2 * ROWS)


def test_a_device_that_is_not_there_is_refused_with_the_remedy() -> None:
    with pytest.raises(EncoderError, match="set it to auto"):
        choose_device("cuda:99")


@pytest.mark.parametrize("name", ["tpu7", "meta", "GPU"])
def test_a_device_of_no_known_kind_is_refused(name: str) -> None:
    with pytest.raises(EncoderError, match="must be auto, cpu, cuda or cuda:N"):
        choose_device(name)
