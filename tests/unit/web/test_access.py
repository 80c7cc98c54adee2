from pathlib import Path

import pytest

from monitor.errors import SettingsError
from monitor.web.access import Rate, Tokens


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def allowed(rate: Rate, tries: int) -> int:
    return sum(rate.allows() for _ in range(tries))


def test_a_rate_allows_as_many_at_once_as_a_second_has_and_then_as_time_passes() -> None:
    clock = Clock()
    rate = Rate(10, clock)
    assert allowed(rate, 50) == 10
    clock.now += 0.5
    assert allowed(rate, 50) == 5


def test_a_quiet_hour_is_not_saved_up() -> None:
    clock = Clock()
    rate = Rate(10, clock)
    clock.now += 3_600
    assert allowed(rate, 50) == 10


def test_without_tokens_everybody_is_accepted() -> None:
    assert Tokens().accept("")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "Basic token", "token"])
def test_an_empty_or_wrong_token_is_not_accepted(header: str) -> None:
    assert not Tokens(given=[b"token"]).accept(header)


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_a_file_without_a_token_is_refused_at_the_start(tmp_path: Path, content: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(SettingsError, match="holds no token"):
        Tokens(file)


def test_a_file_that_is_not_there_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        Tokens(tmp_path / "none")
