"""A new reference from traffic that is stored: what a stream is like now, taken as normal."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from shlex import quote

from sqlalchemy.orm import Session

from monitor.encoders.encoder import EncoderPair
from monitor.records import ReferenceSample, ReferenceVersion
from monitor.reference.artefact import Arrays, Network, Reference
from monitor.reference.build import BuiltReference, build
from monitor.reference.quality import require_quality
from monitor.reference.signals import single_threaded
from monitor.service.derived import label_counts
from monitor.service.embedding import columns
from monitor.service.measure import MeasureRules
from monitor.service.promotion_choice import Chosen, PromotionWish, choose
from monitor.service.promotion_diff import Diff, Replaced, compare
from monitor.service.reference_build import BuildRules
from monitor.service.shelf import ReferenceShelf
from monitor.service.target_mix import TEACHER_TARGETS, teacher_share
from monitor.store.audit import AuditEntry, Outcome, record_audit
from monitor.store.engine import Database
from monitor.store.references import (
    EVERY_STREAM,
    activate,
    active_references,
    find_reference,
    save_reference,
)
from monitor.store.selection import thumbnails

PROMOTED, ACTIVATED = "promote reference", "activate reference"  # in the audit
Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version made from past windows, not stored yet, beside the one in force."""

    wish: PromotionWish
    version: ReferenceVersion
    arrays: Arrays
    samples: Sequence[ReferenceSample]
    reference: Reference
    replaced: ReferenceVersion | None
    diff: Diff

    @property
    def taken(self) -> str:
        """What it was made from, in words."""
        match self.version.facts.get("promoted_from"):
            case {
                "first": str(first),
                "last": str(last),
                "drifting_windows_left_out": int(left_out),
            }:
                without = f", without {left_out} windows that were drifting" if left_out else ""
                return f"{self.wish.stream}, {_minute(first)} to {_minute(last)} UTC{without}"
        return self.wish.stream

    def as_json(self) -> dict[str, object]:
        """What people decide by, as the command, the API and the page show it."""
        return {
            "reference": self.version.identity,
            "digest": self.version.digest,
            "stream": self.wish.stream,
            "instead_of": self.replaced.identity if self.replaced else None,
            "promoted_from": self.version.facts["promoted_from"],
            "diff": asdict(self.diff),
            "has_quality": Network.ANSWER in self.reference.frozen.networks,
            "activation": self.activation,
            "rollback": self.rollback,
        }

    @property
    def rollback(self) -> str | None:
        """The command that brings the version back that is in force now."""
        if self.replaced is None:
            return None
        return activation_command(self.replaced.identity, self.wish.stream)

    @property
    def activation(self) -> str:
        """The command that lets it judge the stream."""
        return activation_command(self.version.identity, self.wish.stream)


@dataclass(frozen=True, slots=True)
class PromotionRules:
    """How a reference is built, and what is kept of its exchanges.

    ``content`` names the texts that are kept; labels are counted of ``labels``.
    """

    build: BuildRules
    max_samples: int
    content: frozenset[str]
    labels: Sequence[str]
    redacted: Sequence[str]
    workers: int


@dataclass(frozen=True, slots=True)
class Promoter:
    """Makes a reference from the samples of past windows; nothing is stored before ``store``."""

    database: Database
    shelf: ReferenceShelf
    encoders: EncoderPair
    measure: MeasureRules
    rules: PromotionRules
    clock: Callable[[], datetime]

    def promote(self, wish: PromotionWish, report: Report) -> Promotion:
        """Take the samples, build, and compare with what is in force; takes minutes.

        Raises:
            ReferenceTooSmallError: with how many samples more are needed.
        """
        report("reading", 0, 1)
        chosen = choose(
            self.database, wish, self.measure, self.rules.build, at_most=self.rules.max_samples
        )
        replaced = self._in_force(wish.stream)
        built = self._build(wish, chosen, replaced, report)
        version = ReferenceVersion(
            digest=built.digest,
            name=built.name,
            created_at=self.clock(),
            encoder_digest=built.encoder_digest,
            facts=self._facts(wish, chosen, built, replaced),
        )
        with single_threaded():
            reference = Reference.load(version, built.arrays)
        report("comparing", 0, 1)
        diff = compare(reference, replaced, chosen.samples, chosen.usual, self.measure)
        report("comparing", 1, 1)
        old = None if replaced is None else replaced.version
        samples = self._samples(chosen, built)
        return Promotion(wish, version, built.arrays, samples, reference, old, diff)

    def store(self, made: Promotion, *, who: str, activate_it: bool) -> None:
        """Keep the version and, if asked, let it judge the stream.

        Raises:
            NothingLearnedError: if it is kept, but could not say whether answers get worse.
        """
        stream, now = made.wish.stream, self.clock()
        with self.database.begin() as session:
            save_reference(session, made.version, made.arrays, made.samples)
            done = Outcome.DONE
            record_audit(
                session, AuditEntry(now, who, PROMOTED, made.version.identity, done, stream)
            )
        if activate_it:
            require_quality(made.reference)
            with self.database.begin() as session:
                activate_for(session, made.version, stream, who=who, now=now)

    def _in_force(self, stream: str) -> Replaced | None:
        with self.database.read() as session:
            active = active_references(session)
            digest = active.get(stream) or active.get(EVERY_STREAM)
            version = None if digest is None else find_reference(session, digest)
        if version is None:
            return None
        is_comparable = version.encoder_digest == self.measure.encoder_digest
        return Replaced(version, self.shelf.get(version.digest) if is_comparable else None)

    def _build(
        self, wish: PromotionWish, chosen: Chosen, replaced: Replaced | None, report: Report
    ) -> BuiltReference:
        rules, like = self.rules.build, replaced.version.name if replaced else "reference"
        return build(
            columns(chosen.samples, self.encoders.textual.dim),
            name=wish.name or like,
            encoder_digest=self.encoders.digest,
            seed=rules.seed,
            calibration_share=rules.calibration_share,
            smallest_window=rules.smallest_window,
            usual_window=chosen.usual,
            null_draws=rules.null_draws,
            workers=self.rules.workers,
            progress=report,
        )

    def _facts(
        self, wish: PromotionWish, chosen: Chosen, built: BuiltReference, replaced: Replaced | None
    ) -> dict[str, object]:
        return {
            "stream": wish.stream,
            "encoders": self.encoders.name,
            "exchanges": len(chosen.samples),
            "redacted": list(self.rules.redacted),
            TEACHER_TARGETS: teacher_share(chosen.samples),
            "labels": label_counts((s.labels for s in chosen.samples), self.rules.labels),
            "promoted_from": {
                "first": chosen.panes[0].isoformat(),
                "last": (chosen.panes[-1] + self.measure.pane).isoformat(),
                "hours": len(chosen.panes) * self.measure.pane / timedelta(hours=1),
                "drifting_windows_left_out": chosen.windows_left_out,
                "with_drifting_windows": wish.include_drifting,
                "instead_of": replaced.version.identity if replaced else None,
            },
            **built.facts,
        }

    def _samples(self, chosen: Chosen, built: BuiltReference) -> list[ReferenceSample]:
        """Which exchanges it is made from, with as much of their content as is still stored."""
        content, kept = chosen.content, self.rules.content
        shown = {
            sample.id: next(
                (i.content_hash for i in content[sample.id].images if i.has_thumbnail), None
            )
            for sample in chosen.samples
        }
        with self.database.read() as session:
            pictures = thumbnails(session, sorted({h for h in shown.values() if h is not None}))
        return [
            ReferenceSample(
                position=position,
                exchange_id=sample.exchange_id,
                part=part,
                text=content[sample.id].text if "text" in kept else None,
                response=content[sample.id].response if "response" in kept else None,
                target=content[sample.id].target if "target" in kept else None,
                thumbnail=pictures.get(shown[sample.id] or ""),
            )
            for position, (sample, part) in enumerate(zip(chosen.samples, built.parts, strict=True))
        ]


def activate_for(
    session: Session, version: ReferenceVersion, stream: str, *, who: str, now: datetime
) -> None:
    """Let a version judge a stream from now on, and say who wanted it."""
    activate(session, version.digest, stream, now)
    record_audit(session, AuditEntry(now, who, ACTIVATED, version.identity, Outcome.DONE, stream))


def activation_command(identity: str, stream: str) -> str:
    """What to type to let a version judge a stream."""
    return f"mllm-monitor reference activate {quote(identity)} --stream {quote(stream)}"


def _minute(time: str) -> str:
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M}"
