"""A finished drill as tables, JSON, words and pictures."""

import io
import json
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from rich.console import Console
from rich.table import Table

from monitor.commands.drill import parse_fractions, parse_shifts
from monitor.commands.drill_picture import SCALE, draw, require_picture, write_picture
from monitor.commands.drill_report import Report, as_json, fractions_table, in_words, power_table
from monitor.errors import MonitorError
from monitor.records import Signal
from monitor.service.drill import DrillRules, Outcome
from monitor.service.drill_events import KINDS, Shift
from monitor.service.drill_evidence import Wait, Waits
from monitor.simulate.traffic import DriftKind

BLUR = Shift(DriftKind.BLUR, 3)
VISUAL, EMI = Signal.VISUAL_DISCREPANCY, Signal.EMI


NEVER, SLOWLY = Wait(0.02, None), Wait(0.95, 31.0)


def outcome(
    shift: Shift | None, fraction: float, visual: int, emi: int, by_evidence: Wait = NEVER
) -> Outcome:
    waits = Waits({VISUAL: NEVER, EMI: by_evidence}, persistent=by_evidence, noticed=Wait(1.0, 3.0))
    return Outcome(shift, fraction, 40, {VISUAL: visual, EMI: emi}, max(visual, emi), waits)


@pytest.fixture
def report() -> Report:
    return Report(
        reference="normal@0123",
        stream="llava",
        window_length=timedelta(hours=1),
        false_alarms_per_week=1.0,
        rules=DrillRules(200, 40, (0.1, 1.0), 0.0004, entropy_factor=10.0, seed=0),
        events=900,
        left_out=70,
        outcomes=[
            outcome(None, 0.0, 0, 0),
            outcome(BLUR, 0.1, 10, 1),
            outcome(BLUR, 1.0, 40, 4),
            outcome(Shift(DriftKind.SYNONYMS, 1), 0.1, 0, 0),
            outcome(Shift(DriftKind.SYNONYMS, 1), 1.0, 0, 2),
            outcome(Shift(DriftKind.WORSE_RESPONDER, 1), 0.1, 0, 2),
            outcome(Shift(DriftKind.WORSE_RESPONDER, 1), 1.0, 0, 9, SLOWLY),
            outcome(Shift(DriftKind.SHUFFLED_ANSWERS), 0.1, 0, 36),
            outcome(Shift(DriftKind.SHUFFLED_ANSWERS), 1.0, 0, 40),
        ],
    )


def shown(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(map(str, c.cells) for c in table.columns), strict=True)]


def rendered(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_a_terminal_of_80_columns_loses_no_letter(report: Report) -> None:
    for table in (power_table(report), fractions_table(report)):
        lines = rendered(table, 80).splitlines()
        assert max(map(len, lines)) <= 80
        letters = "".join("".join(lines).split())
        assert "…" not in letters
        for row in shown(table):
            assert "".join(row[0].split()) in letters


def test_the_first_row_are_the_false_alarms_of_undrifted_windows(report: Report) -> None:
    expected = ["none", "0 %", "0.00", "0.00-0.09", "> 11", "> 100", "-"]
    assert shown(power_table(report))[0] == expected


def test_a_row_has_power_interval_delay_and_the_signals_that_see_it(report: Report) -> None:
    rows = shown(power_table(report))
    alarmed = "visual_discrepancy 0.25"
    assert rows[1] == ["blur 3", "10 %", "0.25", "0.13-0.41", "4.0", "> 100", alarmed]
    assert rows[6][3:6] == ["0.11-0.38", "4.4", "31"]


def test_the_smallest_fraction_is_shown_for_each_shift_and_signal(report: Report) -> None:
    assert shown(fractions_table(report)) == [
        ["blur 3", "100 %", "-", "visual_discrepancy 100 %"],
        ["synonyms 1", "-", "-", "-"],
        ["worse_responder 1", "-", "100 %", "-"],
        ["shuffled_answers", "10 %", "-", "emi 10 %"],
    ]


def test_json_has_one_document_for_each_shift_and_every_signal_in_it(report: Report) -> None:
    documents = json.loads(json.dumps(list(as_json(report)), allow_nan=False))
    keys = [(d["shift"], d["strength"]) for d in documents]
    assert keys == [
        (None, None),
        ("blur", 3),
        ("synonyms", 1),
        ("worse_responder", 1),
        ("shuffled_answers", None),
    ]
    blur = documents[1]
    assert (blur["n"], blur["trials"], blur["alpha"]) == (200, 40, 0.0004)
    assert blur["smallest_fraction_by_signal"] == {"visual_discrepancy": 1.0, "emi": None}
    first, second = blur["outcomes"]
    assert (first["fraction"], second["fraction"]) == (0.1, 1.0)
    assert first["signals"]["visual_discrepancy"]["windows_until_detected"] == 4
    assert first["signals"]["visual_discrepancy"]["power"] == 0.25
    assert first["signals"].keys() == {"visual_discrepancy", "emi"}
    worse = documents[3]
    assert worse["smallest_lasting_fraction_by_signal"] == {"visual_discrepancy": None, "emi": 1.0}
    lasting = worse["outcomes"][1]
    assert lasting["signals"]["emi"]["windows_until_persistent"] == 31
    assert lasting["any"]["persistent_share"] == 0.95
    assert lasting["any"]["windows_until_noticed"] == 3


def test_words_say_what_is_noticed_from_where_on_and_what_is_not(report: Report) -> None:
    words = in_words(report)
    assert "900 exchanges" in words[0]
    assert "blur from strength 3 in 100 %, shuffled answers in 10 % of the traffic." in words[1]
    slow = "evidence over up to 100 windows also shows: worse responder from strength 1 in 100 %."
    assert words[2] == f"If it lasts, {slow}"
    assert words[3] == "Not at any strength and fraction that was tried: synonyms."
    assert words[4].startswith("Without any shift 0 of 40 windows alarmed")
    assert words[4].endswith("persistent in 2% of runs of 100 windows.")


def test_a_png_picture_can_be_opened_and_is_as_large_as_its_layout(
    report: Report, tmp_path: Path
) -> None:
    write_picture(report, tmp_path / "power.png")
    with Image.open(tmp_path / "power.png", formats=["PNG"]) as image:
        image.load()
        size = image.size
    drawing = draw(report)
    assert size == (round(SCALE * drawing.width), round(SCALE * drawing.height))


def test_an_svg_picture_has_the_power_of_every_signal_in_every_column(
    report: Report, tmp_path: Path
) -> None:
    write_picture(report, tmp_path / "power.svg")
    root = ET.parse(tmp_path / "power.svg").getroot()  # noqa: S314 - written just now
    hints = [t.text for t in root.iter("{http://www.w3.org/2000/svg}title") if t.text]
    assert len(hints) == len(report.outcomes) * 3
    assert "blur 3, 10%: visual_discrepancy 0.25" in hints


def test_nothing_on_a_picture_lies_outside_of_it(report: Report) -> None:
    drawing = draw(report)
    assert all(0 <= m.x < drawing.width and 0 <= m.y < drawing.height for m in drawing.marks)


@pytest.mark.parametrize("name", ["power.pdf", "power", "absent/power.png"])
def test_a_picture_that_cannot_be_written_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(MonitorError, match="--picture"):
        require_picture(tmp_path / name)


def test_without_a_named_shift_all_are_injected() -> None:
    assert {shift.kind for shift in parse_shifts([], "3")} == set(KINDS)


@pytest.mark.parametrize(
    ("kinds", "strengths"),
    [(["fog"], "1"), (["language"], "1"), ([], "0"), ([], "1.5"), ([], "6"), ([], "a")],
)
def test_shifts_and_strengths_that_do_not_exist_are_refused(
    kinds: list[str], strengths: str
) -> None:
    with pytest.raises(MonitorError, match=r"--(shift|strengths) takes"):
        parse_shifts(kinds, strengths)


@pytest.mark.parametrize("fractions", ["0", "1.1", "", "nan", "0.1;0.2"])
def test_fractions_beyond_the_traffic_are_refused(fractions: str) -> None:
    with pytest.raises(MonitorError, match="--fractions takes"):
        parse_fractions(fractions)


def test_fractions_are_sorted_and_each_is_taken_once() -> None:
    assert parse_fractions("1,0.1,1") == [0.1, 1.0]
