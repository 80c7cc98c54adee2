"""Leaves a service alone that fails again and again, and tries it once before trusting it again."""

from collections.abc import Callable

FAILURES = 5  # in a row
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 1_800.0


class Breaker:
    """Open after ``FAILURES`` failures in a row, for a pause that doubles each time.

    After the pause one call is let through: if that fails as well, it is open again. For one
    thread; ``clock`` is in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._closed_from = clock()

    @property
    def is_open(self) -> bool:
        """Whether it does not trust the service: in a pause, or before the call that decides."""
        return self._failures >= FAILURES or not self.allows()

    def allows(self) -> bool:
        """Whether a call may be made now."""
        return self._clock() >= self._closed_from

    def succeeded(self) -> None:
        """The service works."""
        self._failures, self._pause = 0, FIRST_PAUSE_SECONDS

    def failed(self) -> None:
        """A call has failed."""
        self._failures += 1
        if self._failures >= FAILURES:
            self.hold(self._pause)
            self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def hold(self, seconds: float) -> None:
        """No call for so long, because the service asked for it, say."""
        wait = min(max(seconds, 0.0), LONGEST_PAUSE_SECONDS)
        self._closed_from = max(self._closed_from, self._clock() + wait)
