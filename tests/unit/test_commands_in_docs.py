"""Every command line that the documents show is one that the program takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from monitor.cli.program import program

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "deploy" / "runbooks").glob("*.md"))
# A line in a block of code, or what stands between backquotes; perhaps run by another program.
SHOWN = re.compile(
    r"^ *(?:.*(?:/bin/| -- ))?mllm-monitor (.+)$"
    r"|`(?:[^`\n]*(?:/bin/| -- ))?mllm-monitor ([^`\n]+)`",
    re.MULTILINE,
)


def command_lines() -> Iterator[str]:
    for page in PAGES:
        for found in SHOWN.finditer(page.read_text().replace("\\\n", " ")):
            yield re.split(r" [|<>#;&] ?|`", found[1] or found[2])[0].strip()


LINES = sorted(set(command_lines()))


def parsed(line: str) -> click.Command:
    """The command that a line names; an option that it does not have is an error of click."""
    command: click.Command = program
    arguments = shlex.split(line)
    while isinstance(command, click.Group) and arguments:
        context = click.Context(command, info_name=command.name)
        _, (name, *arguments), _ = command.make_parser(context).parse_args(arguments)
        command = command.commands[name]
    command.make_parser(click.Context(command)).parse_args(arguments)
    return command


def test_documents_show_commands() -> None:
    assert {parsed(line).name for line in LINES} >= {"run", "replay", "explain", "promote", "drill"}


@pytest.mark.parametrize("line", LINES)
def test_a_command_line_of_the_documents_is_taken(line: str) -> None:
    assert not isinstance(parsed(line), click.Group)


@pytest.mark.parametrize("line", ["replay --fail-on-drfit FILE", "reference bild FILE"])
def test_a_wrong_one_would_be_noticed(line: str) -> None:
    with pytest.raises((click.UsageError, KeyError)):
        parsed(line)
