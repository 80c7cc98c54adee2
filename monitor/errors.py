"""Every error raised on purpose: what was expected, what came and what to do."""


class MonitorError(Exception):
    """Base of all errors that are reported in one line, without a traceback."""


class SettingsError(MonitorError):
    """The settings file or an environment override is wrong."""


class StoreError(MonitorError):
    """The database cannot be used as it is."""


class SchemaMismatchError(StoreError):
    """The database is at another revision than this program expects."""

    def __init__(self, *, expected: str, got: str | None) -> None:
        super().__init__(
            f"the database is at revision {got or 'none'}, this program needs {expected}; "
            "run `mllm-monitor db upgrade` with the same settings"
        )
        self.expected = expected
        self.got = got


class AlreadyRunningError(StoreError):
    """Another process holds the embedded database."""


class TaskRunningError(MonitorError):
    """Another task of minutes waits or runs; one is worked on at a time."""


class WindowNotFoundError(MonitorError):
    """No measured window is where one was asked for."""


class BusyError(MonitorError):
    """Too many others asked for something that takes long; it may be asked for again."""


class ReferenceNotFoundError(MonitorError):
    """No stored reference has the name or digest that was asked for."""


class ReferenceMismatchError(MonitorError):
    """State built against one reference or encoder met state built against another."""

    def __init__(self, *, what: str, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"{what} is {got[:12]}, but {expected[:12]} is expected; {remedy}")
        self.expected = expected
        self.got = got


class ReferenceTooSmallError(MonitorError):
    """The traffic given is too little to build a reference from."""


class CalibrationError(MonitorError):
    """What was observed cannot support the thresholds that are asked for."""


class ImageRejectedError(MonitorError):
    """An image could not be decoded safely; ``reason`` is one of a closed set."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"image refused ({reason}): {detail}")
        self.reason = reason


class EncoderError(MonitorError):
    """An encoder cannot be loaded or used as the settings ask for it."""


class RecordRejectedError(MonitorError):
    """A line or record is not an exchange; ``reason`` is one of a closed set."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class SourceError(MonitorError):
    """A source cannot be read from the offset that was asked for."""


class TooFewSamplesError(MonitorError):
    """An estimate was asked for with fewer samples than it exists for."""

    def __init__(self, what: str, *, n: int, n_min: int) -> None:
        super().__init__(f"{what} needs at least {n_min} samples, got {n}")
        self.n = n
        self.n_min = n_min


class ConditionalError(MonitorError):
    """Weights given as a q network are none, or do not fit the embeddings."""


class NothingLearnedError(MonitorError):
    """The q of a reference tells nothing, so it cannot say whether answers get worse."""


class IndexUnusableError(MonitorError):
    """A stored neighbour index is missing, damaged or of another build; rebuild it."""
