from monitor.service.breaker import FAILURES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker


class Seconds:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Seconds) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_it_opens_after_some_failures_in_a_row() -> None:
    breaker = broken(Seconds())
    assert (breaker.allows(), breaker.is_open) == (False, True)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(Seconds())
    for _ in range(FAILURES):
        for _ in range(FAILURES - 1):
            breaker.failed()
        breaker.succeeded()
    assert (breaker.allows(), breaker.is_open) == (True, False)


def test_after_the_pause_one_call_decides() -> None:
    clock = Seconds()
    breaker = broken(clock)
    clock.now = FIRST_PAUSE_SECONDS
    assert (breaker.allows(), breaker.is_open) == (True, True)
    breaker.failed()
    assert not breaker.allows()
    clock.now += 2 * FIRST_PAUSE_SECONDS
    assert breaker.allows()
    breaker.succeeded()
    assert not breaker.is_open


def test_pauses_double_up_to_a_limit() -> None:
    clock = Seconds()
    breaker = broken(clock)
    pauses = []
    for _ in range(12):
        start = clock.now
        while not breaker.allows():
            clock.now += 1
        pauses.append(clock.now - start)
        breaker.failed()
    assert pauses[:3] == [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, 4 * FIRST_PAUSE_SECONDS]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_it_waits_as_long_as_it_was_asked_to_but_not_for_ever() -> None:
    clock = Seconds()
    breaker = Breaker(clock)
    breaker.hold(7)
    clock.now = 6.9
    assert breaker.is_open
    clock.now = 7
    assert not breaker.is_open
    breaker.hold(float("inf"))
    clock.now += LONGEST_PAUSE_SECONDS
    assert breaker.allows()
