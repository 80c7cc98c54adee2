"""Real clients and ten kills each; the suite has two of them."""

from pathlib import Path

import pytest

from tests.acceptance.test_clients import KINDS, assert_once, sent_through_kills


@pytest.mark.benchmark
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_acknowledged_between_ten_kills_is_stored_once(kind: str, tmp_path: Path) -> None:
    print("\n" + assert_once(kind, *sent_through_kills(kind, 10, tmp_path)), end="")
