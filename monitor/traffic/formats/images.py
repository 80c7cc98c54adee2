"""Images as logs hold them: inline, as an address, or as what a logger left in their place."""

import re

import msgspec
from msgspec import Raw

from monitor.encoders.images import decode_base64_image
from monitor.errors import ImageRejectedError
from monitor.records import ImageState, LoggedImage
from monitor.traffic.formats.wire import Caps, clean


def logged_image(value: Raw, caps: Caps) -> LoggedImage:
    """What a JSON value in the place of an image holds; null is an absent one."""
    try:
        text: str | None = _decode_text(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return LoggedImage(ImageState.REJECTED)
    return LoggedImage(ImageState.ABSENT) if text is None else image_from_text(text, caps)


def image_from_text(text: str, caps: Caps) -> LoggedImage:
    """What base64, a data URI, an address or a marker stands for."""
    for state, pattern in _MARKERS:
        if pattern.search(text, 0, _MARKER_WITHIN):
            return LoggedImage(state)
    if scheme := _ADDRESS.match(text):
        state = ImageState.URL if scheme[1].lower() in {"http", "https"} else ImageState.OBJECT_REF
        return LoggedImage(state, url=clean(text, _MAX_URL_CHARS))
    try:
        return LoggedImage(ImageState.INLINE, data=decode_base64_image(text, caps.images))
    except ImageRejectedError:
        return LoggedImage(ImageState.REJECTED)


_decode_text = msgspec.json.Decoder(str | None).decode
_MAX_URL_CHARS = 2_048
_MARKER_WITHIN = 200
_ADDRESS = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,30})://")
_MARKERS = (
    (ImageState.TRUNCATED, re.compile(r"\[base64_data truncated")),  # LiteLLM
    (ImageState.REDACTED, re.compile(r"__REDACTED__")),  # OpenInference
    (ImageState.MARKER_ONLY, re.compile(r"^@@@langfuseMedia:")),
    (ImageState.UPLOAD_FAILED, re.compile(r"^<Upload handling failed")),  # Langfuse
)
