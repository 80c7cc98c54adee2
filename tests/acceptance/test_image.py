"""What the Dockerfile does, done without an engine: its context built, installed and run."""

import json
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.acceptance.conftest import build_wheel
from tests.acceptance.program import ONE_THREAD, Program
from tests.deploy.dockerfile import ROOT, context, health_check, of_image

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


@pytest.fixture(scope="module")
def wheel_of_context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what ``.dockerignore`` lets through and nothing else."""
    folder = tmp_path_factory.mktemp("context")
    for path in context():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)
    return build_wheel(folder, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def image(wheel_of_context: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment of the image, with the packages of this one instead of its own."""
    folder = tmp_path_factory.mktemp("image")
    venv, program = folder / "mllm-monitor", folder / "program"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--prefix", program, wheel_of_context], check=True, capture_output=True)
    shutil.copytree(program, venv, dirs_exist_ok=True)  # COPY --from=program
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(sysconfig.get_path("purelib"))
    return venv


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_context_gives_the_same_wheel_as_the_checkout(
    wheel_of_context: Path, wheel: Path
) -> None:
    assert names(wheel_of_context) == names(wheel)


def test_the_container_starts_is_well_and_stops_when_told(image: Path, tmp_path: Path) -> None:
    (entry,) = json.loads(of_image("ENTRYPOINT"))
    path = {"PATH": f"{image / 'bin'}:/usr/bin:/bin", **ONE_THREAD}
    program = Program(
        tmp_path,
        environ={**path, "MLLM_MONITOR_HTTP__LISTEN": "127.0.0.1:0"},
        command=(str(image / "bin" / entry),),
    )
    assert program.done("--version").stdout.startswith("mllm-monitor, version ")
    program.done("db", "upgrade")
    with program.running(*json.loads(of_image("CMD"))) as process:
        port = process.address.rpartition(":")[2]
        check = [word.replace("9750", port) for word in health_check()]
        assert subprocess.run(check, env=path, check=False).returncode == 0
        assert process.terminate() == 0
    gone = subprocess.run(check, env=path, check=False, capture_output=True)
    assert gone.returncode != 0
