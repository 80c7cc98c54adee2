"""Whatever is done to a captured payload, it gives records or refusals, and nothing else."""

import json
import random
from collections.abc import Callable, Sequence

import pytest

from monitor.records import Exchange, LateTarget, Rejection
from monitor.traffic.formats.detect import format_named
from monitor.traffic.formats.wire import Caps, Reason, Record, Wire
from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import FOLDER, LATEST, format_of, lines

PAYLOADS = sorted(entry["file"] for entry in json.loads((FOLDER / "INDEX.json").read_bytes()))
TIMES = 60  # each kind of mutation, of each payload
SMALL = 40_000  # bytes; what inline images add to larger ones makes them no different
VALUES: list[object] = [None, True, -1, 2**80, 1e308, "", "\0", "\ud800x", [], {}, [[]], {"": {}}]

Mutation = Callable[[random.Random, bytes], bytes]


def flipped(rng: random.Random, line: bytes) -> bytes:
    damaged = bytearray(line)
    for _ in range(rng.randint(1, 8)):
        damaged[rng.randrange(len(line))] = rng.randrange(256)
    return bytes(damaged)


def cut(rng: random.Random, line: bytes) -> bytes:
    start, end = sorted(rng.randrange(len(line) + 1) for _ in range(2))
    return rng.choice([line[:start], line[end:], line[:start] + line[end:]])


def spliced(rng: random.Random, line: bytes) -> bytes:
    start, end, at = (rng.randrange(len(line) + 1) for _ in range(3))
    return line[:at] + line[min(start, end) : max(start, end)] + line[at:]


def deepened(rng: random.Random, line: bytes) -> bytes:
    at, depth = rng.randrange(len(line) + 1), rng.choice([20, 100, 5_000])
    return line[:at] + rng.choice([b"[", b'{"a":', b'"', b"[{"]) * depth + line[at:]


def huge(rng: random.Random, line: bytes) -> bytes:
    digits = [i for i, byte in enumerate(line) if 48 <= byte <= 57] or [0]
    number = rng.choice([b"9" * 400, b"1e400", b"-9223372036854775809", b"0.1e-999", b"9" * 19])
    at = rng.choice(digits)
    return line[:at] + number + line[at + 1 :]


def swapped(rng: random.Random, line: bytes) -> bytes:
    """One value anywhere replaced by one of another type, or an entry dropped."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return flipped(rng, line)
    places: list[tuple[object, object]] = []
    collect(tree, places)
    if not places:
        return b"null"
    for _ in range(rng.randint(1, 3)):
        holder, key = rng.choice(places)
        value = rng.choice([*VALUES, "x" * 300, [{"role": "user", "content": [{}]}]])
        holder[key] = value  # type: ignore[index] # a list or a dict
    return json.dumps(tree).encode()


def within(rng: random.Random, line: bytes) -> bytes:
    """One text anywhere damaged: a time, an id, a file in base64, JSON inside of JSON."""
    try:
        tree = json.loads(line)
    except (ValueError, RecursionError):
        return cut(rng, line)
    places: list[tuple[object, object]] = []
    collect(tree, places)
    texts = [(h, k) for h, k in places if isinstance(h[k], str) and h[k]]  # type: ignore[index] # as below
    if not texts:
        return swapped(rng, line)
    holder, key = rng.choice(texts)
    text = holder[key].encode(errors="replace")  # type: ignore[index] # a list or a dict
    damage = rng.choice([flipped, cut, spliced, deepened, huge, swapped])
    holder[key] = damage(rng, text).decode(errors="replace")  # type: ignore[index] # as above
    return json.dumps(tree).encode()


def collect(tree: object, places: list[tuple[object, object]]) -> None:
    entries = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in entries:
        places.append((tree, key))
        collect(value, places)


KINDS: list[Mutation] = [flipped, cut, spliced, deepened, huge, swapped, within]


@pytest.mark.parametrize("mutation", KINDS)
def test_a_mutated_payload_is_accounted_for(mutation: Mutation) -> None:
    for name in PAYLOADS:
        rng = random.Random(f"{name} {mutation.__name__}")  # noqa: S311 - to repeat, not to hide
        for line in lines(name):
            if len(line) > SMALL:
                continue
            for _ in range(TIMES):
                joiner = Joiner()
                records = format_of(name, joiner).parse(mutation(rng, line), LATEST)
                assert_records([*records, *joiner.flush()])


def test_mutations_are_not_all_refused() -> None:
    rng = random.Random(1)  # noqa: S311
    (line,) = lines("litellm_sdk_generic_api_json_array.json")
    found = [
        record
        for _ in range(50)
        for record in format_named("auto").parse(swapped(rng, line), LATEST)
    ]
    assert {type(record) for record in found} == {Wire, Rejection}


def assert_records(records: Sequence[Record]) -> None:
    for record in records:
        assert isinstance(record, Wire | LateTarget | Rejection)
        if isinstance(record, Rejection):
            assert record.reason in set(Reason)
            assert len(record.detail) <= 200
        if isinstance(record, Wire):
            assert isinstance(record.exchange(Caps(max_text_chars=10)), Exchange)
