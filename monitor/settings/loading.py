"""One YAML file, environment overrides, every fault reported at once."""

import os
import re
from collections.abc import Hashable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import get_args

import yaml
from pydantic import BaseModel, ValidationError

from monitor.errors import SettingsError
from monitor.settings.section import has_password
from monitor.settings.tree import Settings

CONFIG_VARIABLE = "MLLM_MONITOR_CONFIG"
PREFIX = "MLLM_MONITOR_"
_SECRETS = {"http.tokens"}
# Kubernetes tells every pod of each Service in its namespace, and one may well be called
# mllm-monitor: MLLM_MONITOR_SERVICE_HOST=..., MLLM_MONITOR_PORT=tcp://...
_OF_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|(\w+_)?PORT=\w+://.*"
)
# What the file should hold, where pydantic names a type of Python.
_EXPECTED = {
    "tuple_type": "must be a list, written [A, B]",
    "model_type": "must be a section of keys with values",
    "dict_type": "must be a section of keys with values",
    "string_type": "must be a text",
    "path_type": "must be a path",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
}


def load_settings(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the file (or ``MLLM_MONITOR_CONFIG``, or the defaults) and the environment overrides.

    Raises:
        SettingsError: naming every fault, one a line.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    tree = _read_file(path) if path else {}
    faults = _secrets_in(tree, path)
    overrides = _overrides(environ)
    for where, variable in overrides.items():
        _put(tree, where, _parse_override(environ[variable]))
    # A section with nothing below it is what is left when its keys are commented out.
    tree = {key: value for key, value in tree.items() if value is not None}
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as exc:
        faults += [_fault(error, overrides, path) for error in exc.errors()]
        raise SettingsError("\n".join(faults)) from exc
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _overrides(environ: Mapping[str, str]) -> dict[tuple[str, ...], str]:
    """The variables that stand for settings, by the way to these."""
    named = {variable: variable.removeprefix(PREFIX) for variable in sorted(environ)}
    return {
        tuple(name.lower().split("__")): variable
        for variable, name in named.items()
        if variable not in {name, CONFIG_VARIABLE}
        and not _OF_KUBERNETES.fullmatch(f"{name}={environ[variable]}")
    }


def _read_file(path: Path) -> dict[str, object]:
    try:
        with path.open(encoding="utf-8") as file:  # whose name is told with the line
            tree = yaml.load(file, _Loader)  # noqa: S506 - a safe one
    except FileNotFoundError as exc:
        raise SettingsError(f"no settings file at {path}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"cannot read the settings file {path}: {exc}") from exc
    except yaml.YAMLError as exc:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} must hold sections, got a {type(tree).__name__}")
    return tree


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently take the last."""

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002 - as inherited
    ) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key in (k for k, _ in node.value if isinstance(k, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"{key.value} stands there twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _secrets_in(tree: Mapping[str, object], path: Path | None) -> list[str]:
    faults = []
    database, http = tree.get("database"), tree.get("http")
    url = database.get("url") if isinstance(database, dict) else None
    if isinstance(url, str) and has_password(url):
        faults.append(
            f"database.url in {path} holds a password: give the address in the environment "
            f"variable {PREFIX}DATABASE__URL instead"
        )
    if isinstance(http, dict) and http.get("tokens") is not None:
        faults.append(
            f"http.tokens in {path}: give tokens in the environment variable "
            f"{PREFIX}HTTP__TOKENS, or the name of a file with them as http.tokens_file"
        )
    return faults


def _parse_override(value: str) -> object:
    """Lists and sections are written as YAML; all else is a string that pydantic converts."""
    if value in {"", "null"}:
        return None
    if not value.startswith(("[", "{")):
        return value
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError:
        return value


def _put(tree: dict[str, object], where: tuple[str, ...], value: object) -> None:
    *sections, key = where
    for section in sections:
        inner = tree.get(section)
        tree[section] = inner = dict(inner) if isinstance(inner, dict) else {}
        tree = inner
    tree[key] = value


def _fault(error: object, overrides: Mapping[tuple[str, ...], str], path: Path | None) -> str:
    assert isinstance(error, dict)  # noqa: S101 - pydantic's ErrorDetails
    where = tuple(str(part) for part in error["loc"])
    name = ".".join(where) or "settings"
    variables = (overrides.get(where[:depth]) for depth in range(len(where), 0, -1))
    origin = next(filter(None, variables), str(path) if path else "")
    said = f" ({origin})" if origin else ""
    if error["type"] == "extra_forbidden":
        known = _known_keys(where[:-1])
        alike = get_close_matches(where[-1], known, n=1)
        meant = f"; did you mean {alike[0]}?" if alike else ""
        return f"{name}: unknown setting{said}{meant}; known here: {', '.join(known)}"
    message = _EXPECTED.get(error["type"]) or (
        error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    )
    is_hidden = isinstance(error["input"], dict | BaseModel) or name in _SECRETS
    got = "" if is_hidden else f", got {error['input']!r}"
    return f"{name}: {message}{'' if 'got ' in message else got}{said}"


def _known_keys(where: tuple[str, ...]) -> list[str]:
    model: type[BaseModel] = Settings
    for key in where:
        if key.isdigit():
            continue
        field = model.model_fields[key]
        inner = (*get_args(field.annotation), field.annotation)
        model = next(m for m in inner if isinstance(m, type) and issubclass(m, BaseModel))
    return sorted(model.model_fields)
