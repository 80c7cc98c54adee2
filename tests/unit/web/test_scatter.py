import re

import pytest

from monitor.records import Modality
from monitor.service.case import Map, MapPoint
from monitor.web.scatter import scatter

SHARES = [0.001 * (i - 10) for i in range(21)]  # from -0.01 to 0.01


def drawn(towards: int) -> list[tuple[str, str]]:
    """Class and title of every point of the window, in the order in which they are drawn."""
    known = MapPoint(0.0, 0.0, "reference", position=7)
    points = [
        MapPoint(float(i), 1.0, "window", share=share, sample_id=i, exchange_id=f"x{i}")
        for i, share in enumerate(SHARES)
    ]
    found = Map(Modality.VISUAL, (0.3, 0.2), (known, *points))
    picture = scatter(found, towards, lambda p: f"#{p.exchange_id}")
    shown = re.findall(r"<title>(x\d+): [^<]*</title><circle class=\"window (s\d)\"", picture)
    return [(kind, name) for name, kind in shown]


@pytest.mark.parametrize(("towards", "most", "least"), [(1, "x20", "x0"), (-1, "x0", "x20")])
def test_what_pushes_towards_drift_is_red_and_on_top_and_what_looks_normal_is_not(
    towards: int, most: str, least: str
) -> None:
    dots = drawn(towards)
    assert dots[-1] == ("s4", most)
    assert dots[0] == ("s1", least)
    assert len(dots) == len(SHARES)
