from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.service.wiring import (
    make_intake,
    reading_of,
    teacher_share,
    utc_now,
    why_nothing_is_sent,
)
from monitor.settings import Settings, load_settings
from monitor.store.engine import open_database

TEACHER = {"url": "https://models.example.com/v1", "model": "wise-1", "share": 0.1}


def settings(**sections: object) -> Settings:
    return Settings.model_validate({"teacher": TEACHER} | sections)


def test_there_is_no_teacher_unless_one_is_set() -> None:
    assert teacher_share(Settings()) == 0
    assert teacher_share(settings()) == 0.1


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        ({"content_retention": "0"}, "content_retention is 0"),
        ({"keep": ["thumbnails", "labels.*"]}, "privacy.keep lacks text"),
    ],
)
def test_where_no_query_is_kept_none_is_asked(privacy: dict[str, object], said: str) -> None:
    one = settings(privacy=privacy)
    assert teacher_share(one) == 0
    assert said in str(why_nothing_is_sent(one))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"url": "models.example.com/v1"}, "must be https://HOST/v1"),
        ({"url": "ftp://models.example.com"}, "must be https://HOST/v1"),
        ({"url": "https://me:secret-1@models.example.com/v1"}, "into a file, key_file"),
        ({"url": "https://models.example.com/v1?key=secret-1"}, "into a file, key_file"),
        ({"model": ""}, "url needs model"),
        ({"share": 0}, "greater than 0"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"timeout": "0"}, "timeout must be at least 1s"),
        ({"calls_per_day": 0}, "greater than or equal to 1"),
    ],
)
def test_a_teacher_that_cannot_work_is_refused(more: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(teacher=TEACHER | more)


def test_a_key_in_the_address_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text("teacher: {url: 'https://me:secret-1@a/v1', model: m}\n")
    with pytest.raises(Exception, match="key_file") as caught:
        load_settings(path, {})
    assert "secret-1" not in str(caught.value)


def test_only_the_daemon_has_samples_answered(tmp_path: Path) -> None:
    with open_database(f"sqlite:///{tmp_path}/unused.db") as database:
        shares = [
            make_intake(settings(), database, utc_now, asks_teacher=asks).rules.teacher_share
            for asks in (False, True)
        ]
    assert shares == [0, 0.1]


def test_the_paths_of_answers_reach_every_format() -> None:
    one = settings(targets={"paths": ["gold", "checks.answer"]})
    assert reading_of(one).answers.paths == ("gold", "checks.answer")
