"""How lines of the log look, and where."""

import sys

import pytest
import structlog

from monitor.service.logs import configure_logs


@pytest.mark.parametrize(
    ("is_terminal", "no_color", "has_colours"),
    [(True, "", True), (True, "1", False), (False, "", False)],
)
def test_lines_have_colours_on_a_terminal_that_may_have_them_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_terminal: bool,
    no_color: str,
    has_colours: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    monkeypatch.setenv("NO_COLOR", no_color)
    configure_logs(level="info", form="console")
    structlog.get_logger().info("window_measured")
    written = capsys.readouterr().err
    assert "window_measured" in written
    assert ("\x1b[" in written) == has_colours
