"""Write the dashboards and the alerts: ``python -m grafana.source``."""

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from grafana.source.alerts import alerts
from grafana.source.fleet import fleet
from grafana.source.health import health
from grafana.source.stream import stream

ROOT = Path(__file__).resolve().parents[1]
SAID = "# Made by python -m grafana.source from deploy/prometheus/rules; change it there.\n"


class _Dumper(yaml.SafeDumper):
    """Without anchors, and long texts as they are."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def files() -> Mapping[Path, str]:
    """What each made file holds."""
    boards = {"fleet": fleet(), "stream": stream(), "monitor-health": health()}
    made = {
        ROOT / "dashboards" / f"{name}.json": json.dumps(board, indent=1, ensure_ascii=False) + "\n"
        for name, board in boards.items()
    }
    rules = yaml.dump(alerts(), Dumper=_Dumper, sort_keys=False, width=100, allow_unicode=True)
    return {**made, ROOT / "provisioning" / "alerting" / "mllm-monitor.yaml": SAID + rules}


def main() -> None:
    """Write them."""
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
