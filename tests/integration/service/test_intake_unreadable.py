"""A record that nobody was prepared for holds up none of the others, and is told without words."""

from collections.abc import Callable, Sequence
from datetime import datetime

import pytest
from sqlalchemy import select
from structlog.testing import capture_logs

from monitor.records import Exchange
from monitor.store.engine import Database
from monitor.store.panes import pane_states
from monitor.store.quarantine import quarantined
from monitor.store.tables import SampleRow
from monitor.traffic.formats.detect import AutoFormat
from monitor.traffic.formats.wire import Caps, Record, Wire
from tests.integration.service.parts import (
    MINUTE,
    START,
    STREAM,
    admit,
    exchange,
    make_intake,
    outcomes,
)

WORDS = "what a stranger wrote"
LINES = [exchange(name) for name in ("before", "poison", "behind")]


def fail() -> None:
    raise ValueError(WORDS)


def when_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = AutoFormat.parse

    def failing(form: AutoFormat, line: bytes, latest: datetime) -> Sequence[Record]:
        if b"poison" in line:
            fail()
        return parse(form, line, latest)

    monkeypatch.setattr(AutoFormat, "parse", failing)


def when_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Wire.exchange

    def failing(wire: Wire, caps: Caps) -> Exchange:
        if wire.id == "poison":
            fail()
        return whole(wire, caps)

    monkeypatch.setattr(Wire, "exchange", failing)


@pytest.mark.parametrize("breaks", [when_it_is_parsed, when_it_is_kept])
def test_the_others_are_kept_and_it_is_counted_once_and_quarantined_without_its_words(
    database: Database, monkeypatch: pytest.MonkeyPatch, breaks: Callable[..., None]
) -> None:
    breaks(monkeypatch)
    with capture_logs() as logs:
        admit(make_intake(database), LINES)
    with database.read() as session:
        kept = set(session.scalars(select(SampleRow.exchange_id)))
        (pane,) = pane_states(session, STREAM, START, START + MINUTE * 60)
        (refused,) = quarantined(session, limit=9)
    assert kept == {"before", "behind"}
    assert (pane.seen, pane.kept) == (2, 2)
    counted = outcomes(database)
    assert (counted["unreadable"], counted["admitted"]) == (1, 2)
    assert refused.rejection.reason == "unreadable"
    assert "ValueError at test_intake_unreadable.py" in refused.rejection.detail
    assert WORDS not in str([refused, logs])
