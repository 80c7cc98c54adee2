import os
import subprocess
import sys


def test_threads_of_the_daemon_sleep_while_they_wait_for_each_other() -> None:
    given = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    ended = subprocess.run(
        [sys.executable, "-c", "import monitor.cli, torch"],
        env=given | {"OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in ended.stderr
