"""What is installed by pip is whole: everything the program reads at run time is in the wheel."""

import sys
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.program import Program

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAY_WHERE = "import monitor; print(monitor.__file__)"


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as far from the checkout as an installed package is."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def shipped(folder: str) -> set[str]:
    """Files of the tree below a folder."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file_of_the_package_and_the_migrations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert shipped("monitor") | {f"monitor/{path}" for path in shipped("migrations")} <= inside


def test_the_wheel_holds_the_runbooks_that_alerts_link_to(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    books = {path.replace("deploy/", "monitor/") for path in shipped("deploy/runbooks")}
    assert books
    assert books <= inside


def test_the_wheel_holds_the_dashboards_and_what_provisions_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    made = shipped("grafana/dashboards") | shipped("grafana/provisioning")
    assert {f"monitor/{path}" for path in made} <= inside
    assert sum(path.endswith(".json") for path in made) == 3


@pytest.mark.parametrize("suffix", [".html", ".css", ".js", ".svg", ".toml", ".mako"])
def test_the_wheel_holds_data_files_of_each_kind(wheel: Path, suffix: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert [name for name in archive.namelist() if name.endswith(suffix)]


def test_the_installed_program_makes_its_database_in_an_empty_folder(
    installed: Path, tmp_path: Path
) -> None:
    ahead = {"PYTHONPATH": str(installed)}
    where = Program(tmp_path, environ=ahead, command=(sys.executable, "-c", SAY_WHERE))
    assert Path(where.done().stdout.strip()).is_relative_to(installed)
    program = Program(tmp_path, environ=ahead)
    program.done("db", "upgrade")
    current, needed = program.done("db", "current").stdout.split()[1::2]
    assert current == needed
