import os
from pathlib import Path

import pytest

from monitor.encoders.containers import Refusal
from monitor.encoders.images import ImageLimits, read_below
from monitor.errors import ImageRejectedError

LIMITS = ImageLimits(max_bytes=100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An image root with a secret beside it."""
    root = tmp_path / "images"
    (root / "day").mkdir(parents=True)
    (root / "day" / "3.png").write_bytes(b"pixels")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "images-private").mkdir()
    (tmp_path / "images-private" / "secret").write_bytes(b"secret")
    return root


def refusal(root: Path, relative: str) -> str:
    with pytest.raises(ImageRejectedError) as caught:
        read_below(root, relative, LIMITS)
    return caught.value.reason


@pytest.mark.parametrize("relative", ["day/3.png", "./day/3.png", "day//3.png"])
def test_a_file_below_the_root_is_read(root: Path, relative: str) -> None:
    assert read_below(root, relative, LIMITS) == b"pixels"


def test_a_link_within_the_root_is_followed(root: Path) -> None:
    (root / "latest").symlink_to("day")
    assert read_below(root, "latest/3.png", LIMITS) == b"pixels"


def test_a_root_that_is_itself_a_link_is_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to(root)
    assert read_below(tmp_path / "mount", "day/3.png", LIMITS) == b"pixels"


@pytest.mark.parametrize(
    "relative", ["../secret", "day/../../secret", "day/../day/3.png", "/etc/hostname", "", "."]
)
def test_a_path_that_could_leave_the_root_is_refused(root: Path, relative: str) -> None:
    assert refusal(root, relative) == Refusal.OUTSIDE_ROOT


@pytest.mark.parametrize("to", ["../secret", "../images-private/secret", "/etc/hostname"])
def test_a_link_that_leads_out_is_refused(root: Path, to: str) -> None:
    (root / "link").symlink_to(to)
    assert refusal(root, "link") == Refusal.OUTSIDE_ROOT


def test_a_folder_that_is_a_link_out_is_refused(root: Path) -> None:
    (root / "folder").symlink_to("../images-private")
    assert refusal(root, "folder/secret") == Refusal.OUTSIDE_ROOT


@pytest.mark.parametrize("relative", ["day/4.png", "none/3.png", "day/3.png/x"])
def test_a_missing_file_is_absent(root: Path, relative: str) -> None:
    assert refusal(root, relative) == Refusal.ABSENT


def test_everything_below_a_missing_root_is_absent(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none", "3.png") == Refusal.ABSENT


def test_a_pipe_without_a_writer_is_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "pipe")
    assert refusal(root, "pipe") == Refusal.NOT_A_FILE


def test_a_folder_is_not_a_file(root: Path) -> None:
    assert refusal(root, "day") == Refusal.NOT_A_FILE


@pytest.mark.parametrize("relative", ["day/\0", "day/\ud800", "x" * 5000])
def test_a_name_that_no_file_can_have_is_unreadable(root: Path, relative: str) -> None:
    assert refusal(root, relative) == Refusal.UNREADABLE


def test_links_in_a_circle_are_unreadable(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert refusal(root, "a") == Refusal.UNREADABLE


def test_a_file_over_the_cap_is_refused(root: Path) -> None:
    (root / "big").write_bytes(bytes(101))
    assert refusal(root, "big") == Refusal.TOO_MANY_BYTES


def test_refusals_leave_no_open_file(root: Path) -> None:
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    for name in ["day", "../secret", "day/3.png/x"] * 10:
        refusal(root, name)
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before


def test_a_refusal_does_not_repeat_the_path(root: Path) -> None:
    with pytest.raises(ImageRejectedError) as caught:
        read_below(root, "../secret", LIMITS)
    assert "secret" not in str(caught.value)
