from pathlib import Path

from monitor.records import ImageState
from monitor.traffic.formats.answers import TARGET_KEYS
from monitor.traffic.formats.detect import AUTO, NAMES
from monitor.traffic.formats.wire import Reason

PAGE = (Path(__file__).parents[3] / "docs" / "formats.md").read_text()


def test_the_page_on_formats_has_every_name_that_people_meet() -> None:
    words = {*NAMES, *Reason, *ImageState, *TARGET_KEYS} - {AUTO, Reason.UNKNOWN_KEYS}
    assert [word for word in sorted(words) if f"`{word}`" not in PAGE] == []
