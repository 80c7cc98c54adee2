"""Traffic of which every field tries to run script in the pages that show it."""

from collections.abc import Iterator
from datetime import timedelta

from tests.acceptance.prepared import START
from tests.acceptance.traffic import Line, Traffic

STEP = timedelta(seconds=2)
COUNT = 240
DRIFT_FROM = 120


def evil(field: str) -> str:
    """Markup that would call ``hacked`` with the name of the field it was put in."""
    return (
        f"{field}<script>hacked('{field}')</script>\"'><img src=x onerror=hacked('{field}')>"
        f"<svg/onload=hacked('{field}')>{{{{7*7}}}}</script></textarea>\u202e{field}"
    )


def shown(field: str) -> str:
    """What a person sees of it."""
    return f"{field}<script>hacked('{field}')</script>"


STREAM, TENANT = evil("stream"), evil("tenant")
REFERENCE = evil("reference").replace("\u202e", "")  # operators name it, in what can be seen


def exchanges(seed: int, name: str, stream: str, count: int = COUNT) -> Iterator[Line]:
    """Coloured noise as images; from ``DRIFT_FROM`` on one image for all of the evil tenant."""
    traffic = Traffic(seed, image_share=0.7)
    flat = Traffic(99, image_share=1).exchange("", START, "")["query"]
    assert isinstance(flat, dict)
    for i in range(count):
        line = traffic.exchange(f"{evil('id')} {name} {i}", START + i * STEP, stream)
        query, is_evil = line["query"], i % 2 == 0
        assert isinstance(query, dict)
        if name == "drifting" and i >= DRIFT_FROM and is_evil and "images" in query:
            query["images"] = flat["images"]
        query["text"] = f"{query['text']} {evil('text')}"
        line["response"] = f"{line['response']} {evil('response')}"
        line["target"] = f"{line['response']} {evil('target')}"
        line["labels"] = {"tenant": TENANT if is_evil else "acme", evil("key"): evil("value")}
        yield line
