"""Tables in narrow terminals."""

import io
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from monitor.commands.terminal import put_measurements, simple_table
from monitor.records import ALL, Measurement, Signal, Verdict, WindowId

START = datetime(2026, 3, 1, tzinfo=UTC)


def measured(hour: int) -> list[Measurement]:
    window = WindowId(START + timedelta(hours=hour), START + timedelta(hours=hour + 1))
    return [
        Measurement(
            "llava-v1.5-13b",
            ALL,
            signal,
            window,
            10_000 + i,
            Verdict.IN_CONTROL,
            "normal@dd2ca148ac65",
            value=-1.234e-5,
            null_mean=-4.567e-5,
            threshold=-8.912e-5,
            excess_ratio=-12.34,
        )
        for i, signal in enumerate(Signal)
    ]


def test_measurements_are_whole_in_a_terminal_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")  # of 80 columns and without colours
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    put_measurements([*measured(0), *measured(1)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines if "in_control" in line]
    cells = ["-1.234e-05", "-4.567e-05", "-8.912e-05", "-12.34", "in_control"]
    assert rows == 2 * [[s.value, str(10_000 + i), *cells] for i, s in enumerate(Signal)]
    heads = [line for line in lines if line.startswith("llava")]
    assert heads == [f"llava-v1.5-13b  2026-03-01 {h:02}:00 to {h + 1:02}:00 UTC" for h in (0, 1)]


def test_in_a_pipe_each_line_says_of_which_stream_and_window_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    put_measurements(measured(3))
    rows = [line for line in capsys.readouterr().out.splitlines() if "in_control" in line]
    assert len(rows) == len(Signal)
    assert all("llava-v1.5-13b" in row and "03-01 03:00-04:00" in row for row in rows)


def test_a_name_is_folded_and_never_cut_in_a_narrow_terminal() -> None:
    name = "normal@dd2ca148ac65"
    out = io.StringIO()
    Console(file=out, width=24).print(simple_table(("reference", "exchanges"), [(name, "2400")]))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 24
    cells = [line.split("│")[1].strip() for line in lines if line.startswith("│")]
    assert "".join(cells) == name
