import random

import pytest

from monitor.traffic.joining import Joiner
from tests.unit.traffic.captured import LATEST, format_of, payload
from tests.unit.traffic.rewriting import rewritten
from tests.unit.traffic.test_mutations import PAYLOADS, SMALL, assert_records

TIMES = 150
EXPORTS = [name for name in PAYLOADS if ".pb" in name and len(payload(name)) < SMALL]


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_with_other_values_in_it_is_accounted_for(name: str) -> None:
    rng = random.Random(name)  # noqa: S311 - to repeat, not to hide
    for _ in range(TIMES):
        damaged = rewritten(rng, payload(name), is_logs="_logs" in name)
        joiner = Joiner()
        parsed = format_of(name, joiner).parse(damaged, LATEST)
        assert_records([*parsed, *joiner.flush()])
