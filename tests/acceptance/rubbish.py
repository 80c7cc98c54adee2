"""Every kind of rubbish that a log may hold: what each line is, and what is to become of it."""

import base64
import io
import json
import os
import struct
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from PIL import Image

from tests.acceptance.traffic import Line

START = datetime(2026, 3, 2, tzinfo=UTC)
STREAM = "mixed"


def good(number: int) -> Line:
    return {
        "id": f"good-{number}",
        "time": (START + timedelta(seconds=number)).isoformat(),
        "stream": STREAM,
        "query": {"text": f"What is number {number}?"},
        "response": f"It is {number}.",
    }


def _with(**changes: object) -> bytes:
    return json.dumps(good(0) | {"id": "refused"} | changes).encode()


def _raw(old: bytes, new: bytes) -> bytes:
    return _with().replace(old, new)


# Reason -> lines that are refused for it.
REFUSED: dict[str, list[bytes]] = {
    "broken_json": [
        b"{broken",
        _with()[:-20],
        b"\0" * 500,
        bytes(range(128, 256)),
        _raw(b"It is 0.", b"It\x00is"),
        _with() + _with(),
        b"NaN",
        b"<html><body>502 Bad Gateway</body></html>",
    ],
    "not_an_object": [b"null", b"12", b'"text"', b"[1, 2, 3]", b"[" * 100_000],
    "bad_encoding": [_raw(b"It is 0.", b"\xff\xfe\xfd"), _raw(b"It is 0.", b"\xc3")],
    "too_deep": [_with(extra=0).replace(b"0}", b'{"a":' * 20_000 + b"0" + b"}" * 20_001)],
    "wrong_type": [
        _with(query="text"),
        _with(query={"text": 7}),
        _with(query={"text": "q", "images": {}}),
        _with(query={"text": "q", "images": [7]}),
        _with(response=["a"]),
        _with(response=None, query=None, target=3),
        _with(stream=5),
        _with(labels=[1]),
        _with(labels={"a": {"b": 1}}),
        _raw(b'"It is 0."', b"[" * 3_000 + b"]" * 3_000),
    ],
    "missing_field": [
        json.dumps({k: v for k, v in good(0).items() if k != key}).encode()
        for key in ("time", "stream", "response")
    ],
    "no_content": [_with(query={}), _with(query={"text": "", "images": []})],
    "bad_id": [_with(id=""), _with(id=None), _with(id={"a": 1}), _with(id=1.5)],
    "bad_time": [
        _with(time="yesterday"),
        _with(time="2026-03-02T00:00:00"),
        _with(time=True),
        _with(time=[2026]),
        _with(time="2026-02-30T00:00:00Z"),
    ],
    "absurd_time": [
        _with(time="9999-12-31T23:59:59Z"),
        _with(time="0001-01-01T00:00:00Z"),
        _with(time=-5),
        _with(time=1e300),
        _with(time=1_772_409_600_000),
        _with(time=10**30),
    ],
    "too_long": [
        _with(id="x" * 300),
        _with(stream="s" * 300),
        _with(labels={f"label{i}": "v" for i in range(1_000)}),
        _with(labels={"tenant": "v" * 100_000}),
        _with(query={"text": "q", "images": [{"path": "a.png"}] * 1_000}),
    ],
    "unknown_format": [b"{}", b'{"message": "GET / 200", "level": "info"}'],
    "failed_call": [b'{"request": {}, "response": {}}'],
}

# Lines that are odd, but exchanges.
ACCEPTED = [
    good(10_000) | {"response": "a \0 b"},
    good(10_001) | {"response": "half an emoji: \ud83d"},
    good(10_002) | {"response": "x" * 1_000_000},
    good(10_003) | {"query": {"text": "", "images": [{"path": "gone.png"}]}},
    good(10_004) | {"time": START.timestamp() + 10_004.5},
    good(10_005) | {"labels": {"tenant": "a\nb\x1b[31m", "count": 3, "is": True}},
    good(10_006) | {"id": 10_006},
    good(10_007) | {"response": ""},
    good(10_008) | {"target": None, "labels": None},
]


def png(width: int, height: int, pixels: bytes, extra: tuple[bytes, bytes] | None = None) -> bytes:
    """A file whose header may say anything."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *([extra] if extra else []), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def zeros(mebibytes: int) -> bytes:
    """A zlib stream of so many zeros, a thousandth of the size."""
    deflate = zlib.compressobj(9)
    piece = bytes(2**20)
    return b"".join(deflate.compress(piece) for _ in range(mebibytes)) + deflate.flush()


def _jpeg(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(file, "JPEG")
    data = file.getvalue()
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


GIF = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0)
GIF_FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\0;"

# Reason -> files that are refused for it, each in an exchange that is a good one.
IMAGES: dict[str, list[Callable[[], bytes]]] = {
    "too_many_pixels": [
        lambda: png(60_000, 60_000, zlib.compress(b"")),
        lambda: png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
        lambda: _jpeg(65_535, 65_535),
        lambda: GIF + GIF_FRAME,
    ],
    "not_an_image": [lambda: b"MZ" + bytes(1_000), lambda: b"<html></html>"],
    "unsupported_format": [lambda: b"<svg xmlns='x'/>", lambda: b"%PDF-1.7"],
    "truncated": [lambda: png(100, 100, zeros(1))[:300], lambda: _jpeg(16, 16)[:200]],
    "broken": [lambda: png(0, 10, b""), lambda: png(100, 100, b"no zlib stream")],
}
# Small files that want much memory or are not what they say; what is in them that is an image is
# all that is looked at.
BOMBS: list[Callable[[], bytes]] = [
    lambda: png(100, 100, zeros(300)),
    lambda: png(8, 8, zeros(1), (b"zTXt", b"note\0\0" + zeros(300))),
    lambda: png(9, 9, zeros(1), (b"iCCP", b"icc\0\0" + zeros(300))),
]

# Paths that must not be read, and the state that their image has.
PATHS = {
    "../outside.png": "rejected",
    "a/../../outside.png": "rejected",
    "/etc/passwd": "rejected",
    "link.png": "rejected",
    "link/passwd": "rejected",
    "loop.png": "rejected",
    "folder": "rejected",
    "pipe.png": "rejected",
    "a\0b.png": "rejected",
    "gone.png": "absent",
    "x" * 4_000: "rejected",
}


def make_traps(root: Path) -> None:
    """An image root with what somebody might have put into it."""
    root.mkdir()
    (root.parent / "outside.png").write_bytes(png(1, 1, zlib.compress(b"\0" * 4)))
    (root / "link.png").symlink_to("../outside.png")
    (root / "link").symlink_to("/etc")
    (root / "loop.png").symlink_to("loop.png")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe.png")


def with_image(number: int, image: Line) -> Line:
    return good(number) | {"query": {"text": "What is this?", "images": [image]}}


def inline(data: bytes) -> Line:
    return {"data": base64.b64encode(data).decode()}
