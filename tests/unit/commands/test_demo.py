from pathlib import Path

import pytest

from monitor.commands import demo


def test_its_clock_ends_where_no_window_beyond_the_traffic_is_closed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "monotonic", iter([0.0, 60.0, 1e6, 2e6]).__next__)
    clock, windows = demo.Clock(), demo.demo_settings(tmp_path, "127.0.0.1:0").windows
    clock.start()
    assert demo.START < clock() < demo.END
    last = clock()
    assert demo.END <= last - windows.lateness < demo.END + windows.slide
    assert clock() == last
