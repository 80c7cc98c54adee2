"""What a Dockerfile says, read as far as tests need it."""

import json
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; continued lines are joined."""

    name: str
    text: str


def instructions(path: Path = DOCKERFILE) -> list[Instruction]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    split = (line.partition(" ") for line in joined.splitlines() if line.strip())
    return [Instruction(name, text.strip()) for name, _, text in split]


def stages() -> dict[str, list[Instruction]]:
    """Instructions by stage; the last stage, which has no name, is ``image``."""
    found: dict[str, list[Instruction]] = {}
    for instruction in instructions():
        if instruction.name == "FROM":
            _, _, name = instruction.text.partition(" AS ")
            found[name or "image"] = []
        found[next(reversed(found))].append(instruction)
    return found


def of_image(name: str) -> str:
    """The text of the last instruction of that name in the last stage."""
    return [i.text for i in stages()["image"] if i.name == name][-1]


def health_check() -> list[str]:
    """The command that tells whether the container is well."""
    command = of_image("HEALTHCHECK").partition("CMD ")[2]
    return [str(word) for word in json.loads(command)]


def context(root: Path = ROOT) -> set[Path]:
    """Files that ``.dockerignore`` lets into the build, relative to the root."""
    rules = [
        line for line in (root / ".dockerignore").read_text().splitlines() if line[:1] not in "#"
    ]
    assert rules[0] == "*", "the list names what is taken, all else stays out"
    taken = [rule[1:] for rule in rules if rule.startswith("!")]
    found: set[Path] = set()
    for name in taken:
        path = root / name
        inside = path.rglob("*") if path.is_dir() else [path]
        found |= {file for file in inside if file.is_file() and "__pycache__" not in file.parts}
    return {file.relative_to(root) for file in found}
