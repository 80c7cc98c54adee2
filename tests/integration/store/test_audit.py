"""What was done, by whom: kept in order, bounded in number and length."""

from datetime import timedelta

import pytest
from sqlalchemy.orm import Session

from monitor.store import audit
from monitor.store.audit import AuditEntry, Outcome, audit_entries, forget_audit, record_audit
from tests.integration.store.builders import NOW


def entry(number: int, *, target: str = "llava") -> AuditEntry:
    at = NOW + timedelta(minutes=number)
    return AuditEntry(at, "ann", "promote", target, Outcome.DONE, str(number))


def details(session: Session) -> list[str]:
    return [e.detail for e in audit_entries(session, limit=100)]


def test_entries_come_newest_first_page_by_page(session: Session) -> None:
    for number in range(5):
        record_audit(session, entry(number))
    first = audit_entries(session, limit=3)
    second = audit_entries(session, limit=3, before=first[-1].id)
    assert [e.detail for e in first + second] == ["4", "3", "2", "1", "0"]
    assert first[0].outcome is Outcome.DONE


def test_what_strangers_named_is_cut_and_storable(session: Session) -> None:
    record_audit(session, entry(0, target="\x00" + "x" * 1_000))
    (found,) = audit_entries(session, limit=1)
    assert found.target == "\ufffd" + "x" * (audit.MAX_CHARACTERS - 1)


def test_what_is_too_old_goes(session: Session) -> None:
    for number in range(3):
        record_audit(session, entry(number))
    assert forget_audit(session, NOW + timedelta(minutes=2)) == 2
    assert details(session) == ["2"]


def test_no_more_than_the_newest_are_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "KEPT", 2)
    for number in range(5):
        record_audit(session, entry(number))
    forget_audit(session, NOW - timedelta(days=1))
    assert details(session) == ["4", "3"]
