"""What operators set about the reading of records, whatever their format."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.traffic.formats.answers import USUAL_PATHS, AnswerPaths
from monitor.traffic.formats.streams import BY_FORMAT, StreamRule
from monitor.traffic.formats.uploads import NO_UPLOADS, Uploads


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read.

    ``label_keys`` are top-level keys of native lines that become labels; ``uploads`` knows where
    messages lie that telemetry refers to; ``streams`` is what streams are called; ``answers`` are
    the places of reference answers.
    """

    label_keys: Sequence[str] = ()
    uploads: Uploads = NO_UPLOADS
    streams: StreamRule = BY_FORMAT
    answers: AnswerPaths = USUAL_PATHS


AS_LOGGED = Reading()
