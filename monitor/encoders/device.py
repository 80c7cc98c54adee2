"""Where a model runs, and what happens when there is no room for it or the GPU is gone."""

from collections.abc import Callable, Mapping
from typing import Literal

import structlog
import torch
from torch import Tensor, nn

from monitor.errors import EncoderError

log = structlog.get_logger()
Precision = Literal["mixed", "single"]
Batch = Mapping[str, Tensor]


def choose_device(wanted: str) -> torch.device:
    """The device of this name; ``auto`` takes a GPU where there is one.

    Raises:
        EncoderError: if the device is asked for by name and is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as exc:
        raise EncoderError(
            f"encoders.device must be auto, cpu, cuda or cuda:N, got {wanted!r}"
        ) from exc
    if device.type not in {"cpu", "cuda"}:
        raise EncoderError(f"encoders.device must be auto, cpu, cuda or cuda:N, got {wanted!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise EncoderError(
            f"encoders.device is {wanted}, but PyTorch sees {torch.cuda.device_count()} GPUs here; "
            "set it to auto, or install a PyTorch built for this GPU's driver"
        )
    return device


class ModelRunner:
    """Runs a frozen model on batches; a batch that does not fit is halved until it does.

    ``model`` is on the CPU with float32 weights; ``load`` gives it anew: after an error of the GPU
    nothing on it can be read. May be called from several threads.
    """

    def __init__(
        self,
        model: nn.Module,
        load: Callable[[], nn.Module],
        device: torch.device,
        precision: Precision,
    ) -> None:
        self._model = model
        self._load = load
        self._precision = precision
        self._rows_max: int | None = None
        self.weight_bytes = sum(p.nbytes for p in model.parameters())
        self.device = torch.device("cpu")
        if device.type != "cpu":
            self._move_to(device)

    def run(self, batch: Batch) -> Tensor:
        """Rows of finite float32 numbers on the CPU, one for each row of the batch."""
        n = _rows(batch)
        most = min(n, self._rows_max or n)
        done: list[Tensor] = []
        start = 0
        while start < n:
            part = {name: rows[start : start + most] for name, rows in batch.items()}
            try:
                done.append(self._finite(part))
            except (RuntimeError, MemoryError) as exc:
                is_full = is_out_of_memory(exc)
                if self.device.type == "cpu" and not (is_full and _rows(part) > 1):
                    raise
                error = type(exc).__name__
            else:
                start += _rows(part)
                continue
            # Out here nothing holds the memory of the attempt any more.
            if is_full and _rows(part) > 1:
                most = self._rows_max = _rows(part) // 2
                log.warning("batch_halved", rows=most, device=self.device.type)
                if self.device.type != "cpu":
                    torch.cuda.empty_cache()
            else:
                log.warning("gpu_given_up", error=error, going_on="on the CPU")
                self._leave_gpu()
        return torch.cat(done)

    def _finite(self, batch: Batch) -> Tensor:
        rows = self._forward(batch, self._precision)
        overflown = ~rows.isfinite().all(dim=1)
        if overflown.any() and self.device.type != "cpu":
            # Half precision ends at 65,504; single precision is asked again where that was passed.
            again = {name: values[overflown] for name, values in batch.items()}
            rows[overflown] = self._forward(again, "single")
        if not rows.isfinite().all():
            raise EncoderError("the model gave numbers that are not finite; its weights are unfit")
        return rows

    def _forward(self, batch: Batch, precision: Precision) -> Tensor:
        # float16 rather than bfloat16: as fast, and with eight times finer steps its embeddings
        # agree with those of a CPU to what is stored of them.
        is_half = precision == "mixed" and self.device.type != "cpu"
        moved = {name: rows.to(self.device) for name, rows in batch.items()}
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.float16, enabled=is_half),
        ):
            rows: Tensor = self._model(**moved)
        return rows.to("cpu", torch.float32)

    def _move_to(self, device: torch.device) -> None:
        try:
            self._model = self._model.to(device)
            self.device = device
        except RuntimeError as exc:
            log.warning("gpu_given_up", error=type(exc).__name__, going_on="on the CPU")
            self._leave_gpu()

    def _leave_gpu(self) -> None:
        self._model = self._load()
        self.device = torch.device("cpu")
        self._rows_max = None


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))


def is_out_of_memory(exc: Exception) -> bool:
    """Whether the memory of the GPU or of the machine was too small."""
    # On the CPU PyTorch raises a plain RuntimeError.
    return isinstance(exc, torch.OutOfMemoryError | MemoryError) or (
        "can't allocate memory" in str(exc)
    )
