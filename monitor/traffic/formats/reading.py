"""What operators set about the reading of records, whatever their format."""

from collections.abc import Sequence
from dataclasses import dataclass

from monitor.traffic.formats.streams import BY_FORMAT, StreamRule
from monitor.traffic.formats.uploads import NO_UPLOADS, Uploads


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read.

    ``label_keys`` are top-level keys of native lines that become labels; ``uploads`` knows where
    messages lie that telemetry refers to; ``streams`` is what streams are called.
    """

    label_keys: Sequence[str] = ()
    uploads: Uploads = NO_UPLOADS
    streams: StreamRule = BY_FORMAT


AS_LOGGED = Reading()
