"""What Grafana does with expressions before it asks Prometheus, for tests without Grafana."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import yaml

GRAFANA = Path(__file__).parents[2] / "grafana"
BOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
ALERTING = GRAFANA / "provisioning" / "alerting" / "mllm-monitor.yaml"
# Grafana escapes what means something in a regular expression, twice: it stands in a string.
SPECIAL = re.compile(r"[\\^$.*+?()\[\]{}|]")
LABEL_VALUES = re.compile(r"label_values\((?P<series>.+), (?P<label>\w+)\)")

Board = Mapping[str, Any]
Series = Mapping[str, Any]


@cache
def board(path: Path) -> Board:
    found: Board = json.loads(path.read_text())
    return found


def panels(of: Board) -> list[Mapping[str, Any]]:
    """Those that ask something."""
    return [panel for panel in of["panels"] if panel["type"] != "row"]


def managed_rules() -> list[Mapping[str, Any]]:
    """The alerts for Grafana to manage itself."""
    (group,) = yaml.safe_load(ALERTING.read_text())["groups"]
    rules: list[Mapping[str, Any]] = group["rules"]
    return rules


def urls(tree: Any) -> Iterator[str]:
    """Every link, of the dashboard and of values."""
    if isinstance(tree, dict):
        if "url" in tree:
            yield tree["url"]
        tree = list(tree.values())
    for part in tree if isinstance(tree, list) else ():
        yield from urls(part)


@dataclass(frozen=True, slots=True)
class Asked:
    """An expression, who asks it, and whether for one instant."""

    who: str
    expr: str
    instant: bool


def asked(of: Board) -> Iterator[Asked]:
    """All that a dashboard asks, with its variables still in it."""
    for panel in panels(of):
        for target in panel["targets"]:
            yield Asked(
                f"{of['uid']}: {panel['title']} {target['refId']}",
                target["expr"],
                target["instant"],
            )
    for note in of["annotations"]["list"]:
        yield Asked(f"{of['uid']}: {note['name']}", note["expr"], instant=False)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A Prometheus and the span of time that is shown of it."""

    address: str
    start: float
    end: float
    step_seconds: int = 1

    def values(self, query: str, chosen: Mapping[str, Sequence[str]]) -> list[str]:
        """What there is to choose for a variable, given what others are."""
        found = LABEL_VALUES.fullmatch(query)
        assert found, query
        match = {"match[]": self.filled(found["series"], chosen)}
        answer = self._get(f"label/{found['label']}/values", match)
        values: list[str] = answer
        return values

    def filled(self, expr: str, chosen: Mapping[str, Sequence[str]]) -> str:
        """With variables and ranges in their places."""
        span = max(1, round(self.end - self.start))
        for name, text in (
            ("$__rate_interval", f"{4 * self.step_seconds}s"),
            ("$__interval", f"{self.step_seconds}s"),
            ("$__range", f"{span}s"),
        ):
            expr = expr.replace(name, text)
        for name, values in chosen.items():
            escaped = [SPECIAL.sub(r"\\\\\g<0>", value) for value in values]
            one = escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
            expr = expr.replace(f"${name}", one)
        assert "$" not in expr, expr
        return expr

    def ask(self, question: Asked, chosen: Mapping[str, Sequence[str]]) -> list[Series]:
        """Series with at least one number, each with its labels and numbers."""
        expr = self.filled(question.expr, chosen)
        if question.instant:
            answer = self._get("query", {"query": expr, "time": self.end})
            rows = [(row["metric"], [row["value"]]) for row in answer["result"]]
        else:
            times = {"start": self.start, "end": self.end, "step": self.step_seconds}
            answer = self._get("query_range", {"query": expr, **times})
            rows = [(row["metric"], row["values"]) for row in answer["result"]]
        numbers = [(labels, [float(value) for _, value in values]) for labels, values in rows]
        return [
            {"labels": labels, "numbers": [x for x in values if not math.isnan(x)]}
            for labels, values in numbers
            if not all(map(math.isnan, values))
        ]

    def _get(self, what: str, parameters: Mapping[str, Any]) -> Any:
        answer = httpx.post if what.startswith("query") else httpx.get
        sent = {"data": parameters} if what.startswith("query") else {"params": parameters}
        got = answer(f"{self.address}/api/v1/{what}", timeout=60, **sent).json()
        assert got["status"] == "success", f"{got.get('error')}: {parameters}"
        return got["data"]
