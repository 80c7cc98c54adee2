from collections.abc import Mapping

import pytest

from monitor.encoders.images import ImageLimits
from tests.unit.encoders.mutants import DECODED, STATES, bombs, mutants, outcome, seeds

LIMITS = ImageLimits(max_pixels=800_000)
COUNT = 400


@pytest.fixture(scope="module")
def files() -> Mapping[str, bytes]:
    return seeds()


def test_every_seed_is_sound(files: Mapping[str, bytes]) -> None:
    assert {outcome(data, LIMITS) for data in files.values()} == {DECODED}


@pytest.mark.parametrize("part", range(8))
def test_every_damaged_file_ends_in_a_state(part: int, files: Mapping[str, bytes]) -> None:
    found = {outcome(data, LIMITS) for _, data in mutants(files, COUNT // 8, seed=part)}
    assert found <= STATES


BOMBS = bombs()


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_ends_in_the_state_it_should(name: str) -> None:
    data, expected = BOMBS[name]
    assert outcome(data, ImageLimits()) == expected
