"""Our bound beside the published one, scenario by scenario."""

from pathlib import Path

import pytest
from scipy.stats import pearsonr, spearmanr

from tests.published import Bounds


@pytest.mark.benchmark
@pytest.mark.parametrize(("shift", "scenarios"), [("natural", 27), ("synthetic", 34)])
def test_every_published_scenario_has_a_bound_of_ours(
    shared_data: Path, shift: str, scenarios: int
) -> None:
    bounds = Bounds.of(shared_data, shift)
    print(f"\n| {shift} scenario | ours, text side | published |\n| --- | --- | --- |")
    for name, ours, published in zip(bounds.names, bounds.ours, bounds.published, strict=True):
        print(f"| {name.removeprefix('llava_bench_')} | {ours:.3f} | {published:.3f} |")
    rank = spearmanr(bounds.ours, bounds.published).statistic
    linear = pearsonr(bounds.ours, bounds.published).statistic
    print(f"{shift}: Spearman {rank:.3f}, Pearson {linear:.3f}")
    assert len(bounds.ours) == scenarios
