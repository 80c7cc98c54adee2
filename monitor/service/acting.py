"""What people do to the monitor, each with an entry in the audit; long work is left to a job."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.orm import Session

from monitor.errors import MonitorError, NothingLearnedError, ReferenceMismatchError
from monitor.records import ReferenceVersion, may_be_name
from monitor.service.forget import Forgetter, Found
from monitor.service.promotion import PROMOTED, activate_for
from monitor.service.promotion_choice import PromotionWish
from monitor.store.acknowledgements import (
    Acknowledgement,
    add_acknowledgement,
    withdraw_acknowledgement,
)
from monitor.store.audit import AuditEntry, Outcome, record_audit
from monitor.store.engine import Database
from monitor.store.forgetting import Wanted
from monitor.store.references import find_reference
from monitor.store.streams import known_streams
from monitor.store.tables import NAME_LENGTH, SLICE_LENGTH
from monitor.store.tasks import Task, ask_task

PROMOTE, FORGET = "promote", "forget"  # kinds of tasks
ACTIONS = {PROMOTE: PROMOTED, FORGET: "forget exchange"}  # what the audit calls them
MAX_NOTE = 2_000
MAX_SHOWN = 100  # of what a stranger named, in the audit


@dataclass
class Actor:
    """Does what a page or the API is asked for, in the name of ``who``.

    ``encoder_digest`` is that of the encoders which measure, None while they are loading.
    """

    database: Database
    data_dir: Path
    clock: Callable[[], datetime]
    encoder_digest: str | None = None

    def acknowledge(self, said: Acknowledgement, who: str) -> int:
        """Keep a note on windows of a stream; returns its id.

        Raises:
            MonitorError: if there is no such stream, or nothing is said.
        """
        if not said.note.strip() or len(said.note) > MAX_NOTE:
            raise MonitorError(f"a note has 1 to {MAX_NOTE} characters")
        if len(said.slice_key or "") > SLICE_LENGTH:
            raise MonitorError("there is no such slice")
        if said.until is not None and said.until <= said.since:
            raise MonitorError("a note must end after it begins")
        with self.database.begin() as session:
            _require_stream(session, said.stream)
            id_ = add_acknowledgement(session, said)
            self._note(session, who, "acknowledge", said.stream, f"note {id_}")
        return id_

    def withdraw(self, id_: int, who: str) -> None:
        """Let a note count no longer.

        Raises:
            MonitorError: if there is none that counts.
        """
        with self.database.begin() as session:
            if not withdraw_acknowledgement(session, id_, who, self.clock()):
                raise MonitorError(f"there is no note {id_}, or it is withdrawn already")
            self._note(session, who, "withdraw note", f"note {id_}")

    def ask_promotion(self, wish: PromotionWish, who: str, *, activate_it: bool) -> Task:
        """Have a reference made of past windows.

        Raises:
            MonitorError: if none may be called so, or other work of minutes is under way.
        """
        if len(wish.name or "") > NAME_LENGTH:
            raise MonitorError(f"a name has at most {NAME_LENGTH} characters")
        if wish.name is not None and not may_be_name(wish.name):
            raise MonitorError(f"expected a name without @, got {wish.name!r}")
        asked = {
            "stream": wish.stream,
            "since": wish.since.isoformat(),
            "until": wish.until.isoformat(),
            "name": wish.name,
            "include_drifting": wish.include_drifting,
            "activate": activate_it,
        }
        return self._ask(PROMOTE, asked, who)

    def activate(
        self, reference: str, stream: str, who: str, *, without_quality: bool = False
    ) -> ReferenceVersion:
        """Let a version that is stored judge a stream.

        Raises:
            ReferenceNotFoundError: if there is none of this name or digest.
            ReferenceMismatchError: if it is of other encoders than those that measure.
            NothingLearnedError: if it cannot say whether answers get worse.
        """
        with self.database.begin() as session:
            version = find_reference(session, reference)
            self._require_usable(version, without_quality=without_quality)
            activate_for(session, version, stream, who=who, now=self.clock())
        return version

    def forgettable(self, stream: str, exchange_id: str) -> Found:
        """What is stored of an exchange."""
        return Forgetter(self.database, self.data_dir, self.clock).find(
            Wanted(exchange_id=exchange_id, stream=stream)
        )

    def ask_forgetting(self, stream: str, exchange_id: str, who: str) -> Task:
        """Have an exchange forgotten.

        Raises:
            TaskRunningError: while other work of minutes is under way.
        """
        asked = {"stream": stream, "exchange_id": exchange_id}
        return self._ask(FORGET, asked, who)

    def refused(self, who: str, action: str, why: str) -> None:
        """Somebody who is known may not do this."""
        with self.database.begin() as session:
            record_audit(
                session, AuditEntry(self.clock(), who, "request", action, Outcome.REFUSED, why)
            )

    def _ask(self, kind: str, asked: Mapping[str, object], who: str) -> Task:
        now, action, target = self.clock(), ACTIONS[kind], str(asked["stream"])
        with self.database.begin() as session:
            task = ask_task(session, kind, asked, who, now)
            detail = f"task {task.id}"
            record_audit(session, AuditEntry(now, who, action, target, Outcome.STARTED, detail))
        return task

    def _require_usable(self, version: ReferenceVersion, *, without_quality: bool) -> None:
        if self.encoder_digest is None:
            raise MonitorError("the encoders are loading; try again in a minute")
        if version.encoder_digest != self.encoder_digest:
            raise ReferenceMismatchError(
                what=f"the encoder digest of reference {version.identity}",
                expected=self.encoder_digest,
                got=version.encoder_digest,
                remedy="build it again with the encoders that are set",
            )
        if not (without_quality or has_quality(version)):
            raise NothingLearnedError(
                f"the q of answers of {version.identity} has learned nothing, so it cannot say "
                "whether answers get worse; accept that, or build it from more exchanges"
            )

    def _note(self, session: Session, who: str, action: str, target: str, detail: str = "") -> None:
        entry = AuditEntry(self.clock(), who, action, target[:MAX_SHOWN], Outcome.DONE, detail)
        record_audit(session, entry)


def has_quality(version: ReferenceVersion) -> bool:
    """Whether it can say that answers have got worse."""
    match version.facts:
        case {"networks": {"answer": {"has_learned": bool(learned)}}}:
            return learned
    return False


def _require_stream(session: Session, stream: str) -> None:
    if stream not in known_streams(session):
        raise MonitorError("no stream of this name has been seen")
