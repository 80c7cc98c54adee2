"""The systemd unit: understood by systemd, and as confined as it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.programs import DEPLOY
from tests.programs import program

UNIT = DEPLOY / "mllm-monitor.service"
MOST_EXPOSED = 15  # of 100; what is left is mostly that it has a network


@pytest.fixture
def analyze() -> str:
    return program("systemd-analyze", "systemd")


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_systemd_finds_no_fault(analyze: str, tmp_path: Path) -> None:
    # Everything else is as shipped; that one file is not installed where tests run.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/mllm-monitor/bin/mllm-monitor", sys.executable))
    said = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")


def test_it_is_confined(analyze: str) -> None:
    command = [analyze, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", UNIT]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout


def test_it_starts_the_daemon_with_the_settings_that_it_keeps_in_its_own_folders() -> None:
    assert values("ExecStart") == ["/opt/mllm-monitor/bin/mllm-monitor run"]
    assert "MLLM_MONITOR_CONFIG=/etc/mllm-monitor/monitor.yaml" in values("Environment")
    assert values("StateDirectory") == values("ConfigurationDirectory") == ["mllm-monitor"]
    assert values("WorkingDirectory") == ["%S/mllm-monitor"]


def test_it_is_started_again_until_its_database_is_there() -> None:
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == []
    (seconds,) = values("RestartSec")
    assert int(seconds) * 5 > 10  # systemd gives up after five starts within ten seconds


def test_secrets_come_from_a_file_that_may_be_missing() -> None:
    assert values("EnvironmentFile") == ["-/etc/mllm-monitor/environment"]
    assert not [line for line in values("Environment") if "TOKEN" in line or "DATABASE" in line]
