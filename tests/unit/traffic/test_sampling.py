from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2, chisquare, kstest

from monitor.traffic.sampling import PaneSampler, priority, uniform_threshold

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PANE = timedelta(minutes=5)
# Fails by chance once in a million runs if the sample is exactly uniform.
RARE = 1e-6

Event = tuple[str, int, str]  # stream, seconds after START, id
EVENTS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 900), st.text(min_size=1, max_size=3)),
    max_size=60,
)


def sampler(
    per_pane: int = 4, seed: int = 0, known: dict[tuple[str, datetime], int] | None = None
) -> PaneSampler[None]:
    return PaneSampler(per_pane=per_pane, seed=seed, pane=PANE, known=known or {})


def sample(events: Sequence[Event], per_pane: int = 4, seed: int = 0) -> list[tuple[object, ...]]:
    batch = sampler(per_pane, seed)
    for stream, second, exchange_id in events:
        batch.offer(stream, START + timedelta(seconds=second), exchange_id, None)
    return [(k.stream, k.pane_start, k.priority, k.exchange_id) for k in batch.kept()]


def kept_events(events: Sequence[Event]) -> list[Event]:
    ranks = {entry[:2] + entry[3:] for entry in sample(events)}
    return [e for e in events if (e[0], START + e[1] // 300 * PANE, e[2]) in ranks]


def bottom(events: Sequence[Event], per_pane: int, seed: int = 0) -> list[tuple[object, ...]]:
    panes: dict[tuple[str, datetime], set[tuple[int, str]]] = {}
    for stream, second, exchange_id in events:
        start = START + second // 300 * PANE
        panes.setdefault((stream, start), set()).add(
            (priority(seed, stream, exchange_id), exchange_id)
        )
    return [(*key, *rank) for key in sorted(panes) for rank in sorted(panes[key])[:per_pane]]


@given(events=EVENTS, per_pane=st.integers(1, 6))
def test_each_pane_keeps_its_k_smallest_priorities(events: list[Event], per_pane: int) -> None:
    assert sample(events, per_pane) == bottom(events, per_pane)


@given(events=EVENTS, order=st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_matter(events: list[Event], order: object) -> None:
    shuffled = list(events)
    order.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    assert sample(shuffled) == sample(events)


@given(events=EVENTS)
def test_offering_everything_again_changes_nothing(events: list[Event]) -> None:
    assert sample(events + events) == sample(events)


@given(events=EVENTS, at=st.integers(0, 60))
def test_the_samples_of_two_replicas_hold_the_sample_of_both(events: list[Event], at: int) -> None:
    together = kept_events(events[:at]) + kept_events(events[at:])
    assert sample(together) == sample(events)


@given(events=EVENTS)
def test_known_thresholds_leave_out_nothing_that_belongs_to_the_sample(
    events: list[Event],
) -> None:
    known = {}
    for stream, start, value, _ in sample(events, per_pane=4):
        known[stream, start] = value  # the last one is the largest
    batch = sampler(per_pane=4, known=known)
    for stream, second, exchange_id in events:
        batch.offer(stream, START + timedelta(seconds=second), exchange_id, None)
    admitted = {(k.stream, k.pane_start, k.priority, k.exchange_id) for k in batch.kept()}
    below = {e for e in sample(events, per_pane=4) if e[2] < known[e[0], e[1]]}
    assert admitted == below


def test_an_exchange_at_or_above_a_known_threshold_is_counted_but_not_taken() -> None:
    threshold = priority(0, "a", "x")
    batch = sampler(known={("a", START): threshold})
    assert not batch.offer("a", START, "x", None)
    assert batch.kept() == []
    assert [tally.seen for tally in batch.tallies()] == [1]


def test_repeats_of_a_kept_exchange_are_told_apart_from_what_was_seen() -> None:
    batch = sampler()
    offers = [batch.offer("a", START, exchange_id, None) for exchange_id in "xyxx"]
    assert offers == [True, True, False, False]
    assert batch.duplicates == 2
    assert [tally.seen for tally in batch.tallies()] == [2]


def test_the_first_of_two_exchanges_with_one_id_is_kept() -> None:
    batch: PaneSampler[str] = PaneSampler(per_pane=4, seed=0, pane=PANE)
    batch.offer("a", START, "x", "first")
    batch.offer("a", START, "x", "second")
    assert [kept.item for kept in batch.kept()] == ["first"]


def test_tallies_have_the_span_of_event_time_of_each_pane() -> None:
    batch = sampler()
    for second in (200, 10, 100, 299, 300):
        batch.offer("a", START + timedelta(seconds=second), str(second), None)
    spans = [
        (t.pane_start - START, t.seen, t.first - START, t.last - START) for t in batch.tallies()
    ]
    seconds = [timedelta(seconds=s) for s in (0, 10, 299, 300)]
    assert spans == [
        (seconds[0], 4, seconds[1], seconds[2]),
        (seconds[3], 1, seconds[3], seconds[3]),
    ]


def test_a_time_with_another_offset_falls_into_the_pane_of_the_same_instant() -> None:
    batch = sampler()
    batch.offer("a", datetime.fromisoformat("2026-03-01T17:32:00+05:30"), "x", None)
    assert [kept.pane_start for kept in batch.kept()] == [START]


def test_memory_holds_k_items_a_pane_however_many_are_offered() -> None:
    batch = sampler(per_pane=3)
    for i in range(1000):
        batch.offer("a", START, str(i), None)
    (pane,) = batch._panes.values()
    assert (len(pane.heap), len(pane.ids), pane.seen) == (3, 3, 1000)


def test_the_priority_is_the_documented_hash() -> None:
    # blake2b, 8 bytes, of b"7:4:live" + b"req-1", less 2^63; computed with b2sum -l 64.
    assert priority(7, "live", "req-1") == int("08a3192b106786a4", 16) - 2**63


def test_stream_and_id_are_kept_apart_in_the_priority() -> None:
    assert priority(0, "a", "bc") != priority(0, "ab", "c")


def test_priorities_are_uniform_over_signed_64_bits() -> None:
    values = np.array([priority(0, "s", f"req-{i}") for i in range(20_000)], dtype=np.float64)
    assert kstest(values / 2**64 + 0.5, "uniform").pvalue > RARE


def test_every_exchange_of_a_pane_is_kept_equally_often() -> None:
    n, k, seeds = 200, 40, 300
    counts = np.zeros(n)
    for seed in range(seeds):
        for _, _, _, exchange_id in sample([("s", 0, str(i)) for i in range(n)], k, seed):
            counts[int(str(exchange_id))] += 1
    expected = seeds * k / n
    # Drawn without replacement, counts vary less than independent ones by this factor.
    statistic = ((counts - expected) ** 2 / expected).sum() / (1 - k / n) * (n - 1) / n
    assert RARE < chi2.sf(statistic, n - 1) < 1 - RARE


def pane_counts(*, by_rule: bool) -> list[int]:
    """How often three very unequal panes are represented in 300 windows, k = 40."""
    sizes = (1500, 90, 25)
    events = [("s", 300 * pane, f"{pane}-{i}") for pane, n in enumerate(sizes) for i in range(n)]
    counts = [0, 0, 0]
    for seed in range(300):
        kept = sample(events, 40, seed)
        panes = [[int(str(e[2])) for e in kept if str(e[3])[0] == str(p)] for p in range(3)]
        dropped = [len(pane) < size for pane, size in zip(panes, sizes, strict=True)]
        threshold = uniform_threshold(
            max(pane) if full else None for pane, full in zip(panes, dropped, strict=True)
        )
        limit = threshold if by_rule and threshold is not None else 2**63
        for p in range(3):
            counts[p] += sum(value <= limit for value in panes[p])
    return counts


def p_value_of_shares(counts: list[int]) -> float:
    shares = np.array([1500, 90, 25]) / 1615
    return float(chisquare(counts, sum(counts) * shares).pvalue)


def test_a_window_represents_unequal_panes_by_their_traffic() -> None:
    assert p_value_of_shares(pane_counts(by_rule=True)) > RARE


def test_without_the_threshold_quiet_panes_would_be_over_represented() -> None:
    assert p_value_of_shares(pane_counts(by_rule=False)) < RARE


@pytest.mark.parametrize(
    ("maxima", "threshold"), [([None, 5, -3], -3), ([None, None], None), ([], None)]
)
def test_the_threshold_is_the_smallest_maximum_of_panes_that_dropped(
    maxima: list[int | None], threshold: int | None
) -> None:
    assert uniform_threshold(maxima) == threshold
