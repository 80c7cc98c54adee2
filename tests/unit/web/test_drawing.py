import re

from monitor.web.drawing import Frame, Range, histogram, sparkline


def test_a_line_is_interrupted_where_a_value_is_missing() -> None:
    path = Frame(100, 10).path([(0, 1.0), (1, None), (2, 2.0), (3, 0.0)], Range(0, 3), Range(0, 2))
    assert re.sub(r"[\d. ]", "", path) == "MML"


def test_what_is_out_of_range_is_drawn_at_the_edge() -> None:
    assert Frame(100, 10).at(1, 99, Range(0, 2), Range(0, 2)) == "50.0 2.0"


def test_a_range_of_one_value_has_it_in_the_middle() -> None:
    assert Range(3, 3).part(3) == 0.5


def test_a_sparkline_needs_two_values() -> None:
    assert sparkline([(0, 1.0), (1, None)], "one") == ""
    assert "<svg" in sparkline([(0, 1.0), (1, 2.0)], "two")


def test_the_last_value_is_marked_by_whether_it_is_beyond_the_threshold() -> None:
    assert 'class="out"' in sparkline([(0, 0.1), (1, 1.2)], "")
    assert 'class="in"' in sparkline([(0, 1.2), (1, 0.9)], "")


def test_the_label_of_a_picture_is_escaped() -> None:
    assert "<script" not in sparkline([(0, 1.0), (1, 2.0)], '"><script>')


def test_a_histogram_has_a_bar_for_every_value_that_occurs_and_a_line_for_every_mark() -> None:
    drawn = histogram([0.0, 0.0, 1.0], [("threshold", 2.0)], "")
    assert drawn.count("<rect") == 2
    assert drawn.count('class="threshold"') == 1
    assert histogram([], [], "") == ""


def test_no_picture_is_styled_inline() -> None:
    assert "style=" not in sparkline([(0, 1.0), (1, 2.0)], "") + histogram([1.0], [], "")
