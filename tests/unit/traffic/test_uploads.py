import os
from pathlib import Path

import pytest

from monitor.traffic.formats.uploads import Uploads


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "up loads"
    folder.mkdir()
    (folder / "in.json").write_text("[]")
    (tmp_path / "secret.json").write_text("[]")
    return folder


@pytest.mark.parametrize(
    "ref",
    [
        "file://{root}/in.json",
        "file://localhost{root}/in.json",
        "{root}/in.json",
        "{root}/./in.json",
    ],
)
def test_a_file_below_a_root_is_read(root: Path, ref: str) -> None:
    assert Uploads([root]).read(ref.format(root=root)) == "[]"


def test_an_address_may_be_escaped(root: Path) -> None:
    assert Uploads([root]).read((root / "in.json").as_uri()) == "[]"


@pytest.mark.parametrize(
    "ref",
    [
        "file://{root}/../secret.json",
        "file://{root}/%2e%2e/secret.json",
        "{root}/../secret.json",
        "file://{root}/link.json",
        "file://other{root}/in.json",
        "http://localhost{root}/in.json",
        "gs://bucket/in.json",
        "file://{root}/absent.json",
        "file://{root}",
        "file://{root}/pipe",
        "file://{root}/large.json",
        "file://{root}/binary.json",
        "file://{root}/in.json%00",
        "file://{root}/loop",
        "file://[",
        "in.json",
        "",
        "x" * 10_000,
    ],
)
def test_nothing_else_is_read(root: Path, ref: str) -> None:
    (root / "link.json").symlink_to(root.parent / "secret.json")
    (root / "loop").symlink_to(root / "loop")
    (root / "large.json").write_text(" " * 101)
    (root / "binary.json").write_bytes(b"\xff\xfe")
    os.mkfifo(root / "pipe")
    assert Uploads([root], max_bytes=100).read(ref.format(root=root)) is None


def test_without_a_root_nothing_is_read(root: Path) -> None:
    assert Uploads().read(str(root / "in.json")) is None
