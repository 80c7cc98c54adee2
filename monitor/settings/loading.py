"""One YAML file, environment overrides, every fault reported at once."""

import os
from collections.abc import Mapping
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
    overrides: dict[tuple[str, ...], str] = {}
    for variable, value in sorted(environ.items()):
        if variable.startswith(PREFIX) and variable != CONFIG_VARIABLE:
            where = tuple(variable.removeprefix(PREFIX).lower().split("__"))
            overrides[where] = variable
            _put(tree, where, _parse_override(value))
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as exc:
        faults += [_fault(error, overrides, path) for error in exc.errors()]
        raise SettingsError("\n".join(faults)) from exc
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _read_file(path: Path) -> dict[str, object]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise SettingsError(f"no settings file at {path}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"cannot read the settings file {path}: {exc}") from exc
    except yaml.YAMLError as exc:
        raise SettingsError(f"{path} is not YAML: {' '.join(str(exc).split())}") from exc
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{path} must hold sections, got a {type(tree).__name__}")
    return tree


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
    origin = overrides.get(where[:2]) or overrides.get(where[:1]) or (str(path) if path else "")
    said = f" ({origin})" if origin else ""
    if error["type"] == "extra_forbidden":
        known = ", ".join(_known_keys(where[:-1]))
        return f"{name}: unknown setting{said}; known here: {known}"
    message = error["msg"].removeprefix("Value error, ")
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
