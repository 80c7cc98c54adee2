"""Real prompts and answers of LLaVA-1.5-13b on LLaVA-Bench, the text side of it."""

from pathlib import Path

import pytest
from scipy.stats import spearmanr

from tests.published import Bounds

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


# Of the synthetic scenarios most differ from another one in their images alone, which are missing;
# a random order of 34 reaches 0.55 once in 2,000 times.
@pytest.mark.parametrize(
    ("shift", "scenarios", "agreement"), [("natural", 27, 0.9), ("synthetic", 34, 0.55)]
)
def test_the_bound_ranks_the_scenarios_as_the_published_one_does(
    shared_data: Path, shift: str, scenarios: int, agreement: float
) -> None:
    bounds = Bounds.of(shared_data, shift)
    assert len(bounds.names) == scenarios
    assert spearmanr(bounds.ours, bounds.published).statistic >= agreement
