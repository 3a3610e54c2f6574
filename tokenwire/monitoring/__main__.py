"""``python -m tokenwire.monitoring FOLDER``: write the dashboards and the rules under ``FOLDER`` (deploy)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenwire.monitoring.delivery import DELIVERY
from tokenwire.monitoring.gateways import GATEWAYS
from tokenwire.monitoring.overview import OVERVIEW
from tokenwire.monitoring.panels import Dashboard, render
from tokenwire.monitoring.slo import rules
from tokenwire.monitoring.workers import WORKERS

DASHBOARDS: tuple[Dashboard, ...] = (OVERVIEW, GATEWAYS, WORKERS, DELIVERY)


def files() -> Iterator[tuple[str, str]]:
    """Yield the path of each file below ``deploy``, and its text."""
    for dashboard in DASHBOARDS:
        text = json.dumps(render(dashboard), indent=2, ensure_ascii=False)
        yield f"grafana/dashboards/{dashboard.uid}.json", text + "\n"
    yield "prometheus/rules/slo.yml", rules()


def main(folder: Path) -> None:
    """Write all files."""
    for path, text in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
